"""The cloud side of the image service, as AWS CDK stacks."""
