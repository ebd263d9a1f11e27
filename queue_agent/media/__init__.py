"""The bytes of images, videos and sounds: where they are kept, and what they are."""
