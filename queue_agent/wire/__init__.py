"""The formats that leave the process and come into it: jobs, notifications, results, errors."""
