"""The samples of `footage` in memory, and batches of twins drawn from them."""

import zipfile
from pathlib import Path

import numpy as np
import torch

from gendkit.pretrain.footage import FACTS

HELD_OUT = 40  # one identity in so many is kept for the printed check
COLUMNS = ("images", "maps", "texture", "landmarks", "camera", *FACTS)


class Pool:
    """Samples in memory; grows while shards appear.

    Args:
        folder: Where `footage-*.npz` are.
        held_out: Only the held-out identities, or only all others.
    """

    def __init__(self, folder: Path, held_out: bool = False) -> None:
        """Read what is there."""
        self.folder, self.held_out = folder, held_out
        self.shards: dict[str, dict[str, np.ndarray]] = {}
        self.places: dict[int, list[tuple[str, int]]] = {}  # of the samples, by identity; -1: plain
        self.refresh()

    def __len__(self) -> int:
        """Count samples."""
        return 2 * sum(map(len, self.places.values()))

    @property
    def identities(self) -> list[int]:
        """Who is there, without -1."""
        return sorted(set(self.places) - {-1})

    def refresh(self) -> int:
        """Read new shards; one that is still being written is read next time. Returns how many."""
        new = [p for p in sorted(self.folder.glob("footage-*.npz")) if p.name not in self.shards]
        count = 0
        for path in new:
            try:
                with np.load(path, allow_pickle=False) as data:
                    shard = {name: data[name] for name in (*COLUMNS, "identity_id")}
            except (zipfile.BadZipFile, EOFError) as error:
                print(
                    f"{path.name} is not complete yet ({error}); it will be tried again", flush=True
                )
                continue
            who = shard.pop("identity_id")
            mine = np.where(who < 0, not self.held_out, (who % HELD_OUT == 0) == self.held_out)
            self.shards[path.name] = {name: values[mine] for name, values in shard.items()}
            for row, identity in enumerate(who[mine][::2]):
                self.places.setdefault(int(identity), []).append((path.name, 2 * row))
            count += 1
        return count

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, torch.Tensor]:
        """Draw twins of people, two films of each person, and twins without a person at the end.

        Args:
            rng: Random source.
            size: Samples, a multiple of 4.

        Returns:
            images (size, 3, S, S) float32 in [0, 1], maps and texture (size, patches, .), landmarks
            (size, 136) and the facts, NaN where there is no person. Rows 2k and 2k + 1 are twins; rows
            4k to 4k + 3 are two films of one person for k < K, two pictures without one for the rest
            (at most one k, from size 16 on). `people` is empty and (K, 0), only to tell K. A person
            with one film, or drawn where there are fewer than K people, comes more than once.
        """
        n_people = size // 4 - (1 if -1 in self.places and size >= 16 else 0)
        people = self.identities
        chosen = [people[k] for k in rng.choice(len(people), n_people, len(people) < n_people)]
        firsts: list[tuple[str, int]] = []
        for who in [*chosen, *[-1] * (size // 4 - n_people)]:
            mine = self.places[who]
            firsts += [mine[k] for k in rng.choice(len(mine), 2, replace=len(mine) < 2)]
        at = [(shard, row + twin) for shard, row in firsts for twin in (0, 1)]
        out = {
            name: torch.from_numpy(np.stack([self.shards[s][name][i] for s, i in at])).float()
            for name in COLUMNS
        }
        out["images"] = (out["images"].permute(0, 3, 1, 2) / 255).contiguous()
        out["people"] = torch.empty(n_people, 0)
        return out

    def moments(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Measure the facts of people and the camera over the first 40 shards.

        Returns:
            Mean and standard deviation, each (size,) float, of the camera and of each fact; the
            deviation a little larger, so that a constant number divides nothing by zero.
        """
        out = {}
        for name in ("camera", *FACTS):
            values = np.concatenate([s[name] for s in list(self.shards.values())[:40]])
            values = values[np.isfinite(values).all(1)]
            mean, std = values.mean(0), values.std(0)
            out[name] = tuple(map(torch.from_numpy, (mean, std + 1e-3 * (values.std() + 1e-6))))
        return out
