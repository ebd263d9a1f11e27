"""An HTTP front for teams without one: jobs in, live progress, images out, and a page.

A gateway holds nothing that another could not find: jobs, results and cancel markers are in the
bucket, and news come by notification. Any number of them run side by side, none is special.
"""
