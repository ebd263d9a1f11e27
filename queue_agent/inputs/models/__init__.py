"""Models that jobs need and that are not there: fetched into a volume of bounded size.

`policy` says what may be fetched, `download` gets one file, `volume` keeps the files and their
records, and `fetcher` brings them together for the jobs.
"""
