"""One process of a distributed run on tiny crops; `test_train.py` starts it with torchrun."""

import json
import os
import sys
from pathlib import Path

import pandas as pd
import torch

torch.set_num_threads(1)

from tiny import tiny_model, tuned  # noqa: E402

from gendkit import recipe, train  # noqa: E402


def main(folder: Path) -> None:
    """Train, and note which rows this process saw at each step."""
    table = pd.read_csv(folder / "crops.csv")
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    seen, step = [], train.GenDTrainer.compute_loss

    def note(self, model, inputs, *args, **kwargs):
        seen.append([self.state.epoch, inputs["index"].tolist()])
        return step(self, model, inputs, *args, **kwargs)

    train.GenDTrainer.compute_loss = note
    config = recipe.TrainConfig(**settings)
    result = train.train(tiny_model(dropout=0.0), table, folder / "crops", config, folder / "runs")
    rank = os.environ["RANK"]
    torch.save(tuned(result.model), folder / f"weights{rank}.pt")
    (folder / f"seen{rank}.json").write_text(json.dumps(seen), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
