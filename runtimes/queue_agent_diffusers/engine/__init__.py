"""The engine: jobs, models and the step loop; it knows no torch and no HTTP."""
