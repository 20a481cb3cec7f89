"""`gendkit train` in a process that kills itself, as `kill -9` does, after some updates."""

import os
import signal
import sys

import torch

torch.set_num_threads(1)

from gendkit.commands import train as command  # noqa: E402
from gendkit.trainer import RunRecord  # noqa: E402


def main(step: int, argv: list[str]) -> int:
    """Run the command; the process dies in the middle of an epoch."""

    def die(self, args, state, control, **_):
        if state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    RunRecord.on_step_end = die
    return command.main(argv)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
