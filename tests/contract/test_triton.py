"""The adapter keeps the contract at a server of the Open Inference Protocol."""

import pytest

from queue_agent.testing.process import ServerProcess
from queue_agent_runtimes.triton import TritonRuntime
from triton_contract import STEP_SECONDS, TritonContract
from triton_servers import end_work_of_fake, fake_triton, held_by_fake


class TestTriton(TritonContract):
    @classmethod
    def new_server(cls) -> ServerProcess:
        return fake_triton("--step-seconds", str(STEP_SECONDS))

    async def jobs_held(self, server: ServerProcess) -> int:
        return await held_by_fake(server)

    async def end_work(self, server: ServerProcess) -> None:
        await end_work_of_fake(server)

    @pytest.mark.asyncio
    async def test_a_cancelled_run_is_worked_on_still(
        self, runtime: TritonRuntime, server: ServerProcess
    ) -> None:
        """Triton notices nothing of a connection that closes: nobody can tell when it is free."""
        await self.cancel_a_run_that_goes_on(runtime, server)
