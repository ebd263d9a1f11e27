"""What settings call queues, topics and buckets, judged before any cloud is contacted.

There is one provider; the functions are its own. They give what the ports are opened with, and
raise `ValueError` with what is wrong.
"""

from queue_agent.cloud.aws.addresses import bucket_name, queue_url, region_of, topic

__all__ = ["bucket_name", "queue_url", "region_of", "topic"]
