"""A fake of the AUTOMATIC1111 Web UI's API; see ``python -m fakes.webui -h``.

Beside the real routes, ``/fake/…`` tells tests what happened and breaks things on purpose:

- ``GET /fake/state``: what runs and waits now, the loaded checkpoint, the options
- ``GET /fake/runs``: every generation with its times in seconds since the epoch
- ``GET /fake/requests``: the last bodies of generation requests, oldest first
- ``POST /fake/faults``: what shall go wrong next (`Fault`); ``DELETE`` ends all faults
- ``POST /fake/paused``: whether sampling stands still, so that tests can take their time, or a
  text: only where the prompt holds it; ``?after=``: once so many steps are done
- ``POST /fake/models``: put a checkpoint on the disk; it is listed after a refresh

Written after https://github.com/AUTOMATIC1111/stable-diffusion-webui (modules/api).
"""
