"""Compatibility routes: those of other image servers, behind which a job goes the usual way.

A client of such a server needs only another base URL. The connection waits for the job; what
takes too long is answered by 504 with the job's id, by which the result can be fetched later.
"""
