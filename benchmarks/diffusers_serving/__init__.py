"""The bundled diffusers runtime against the plain pipeline and a static batcher.

    python -m benchmarks.diffusers_serving                       the tiny model, on this machine
    python -m benchmarks.diffusers_serving --gpu-size sd15       random weights of the true size
    python -m benchmarks.diffusers_serving --gpu-size sdxl --mix lcm
    python -m benchmarks.diffusers_serving.gpu                   all of it on a GPU in 9 minutes

Three subjects do the same jobs in one process, one after another and in turns over several
rounds: `plain` calls the pipeline for one job at a time, `static` calls it for all waiting jobs
of equal step counts together, `engine` is the bundled runtime's own. No HTTP is in between.
Random weights cost the same time as trained ones.
"""
