"""Crops to tensors: pairs, balance, and draws that depend on nothing but what a row shows."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from gendkit.datasets import (
    CropDataset,
    FeatureDataset,
    PairedBatchSampler,
    RandomBatchSampler,
    to_pixels,
)


def crops(root, n_sources=4, n_frames=2, methods=("DF", "NT"), size=16, lacking=()):
    """Write random crops and return their manifest; `lacking` names (method, source) to leave out."""
    rng, rows = np.random.default_rng(0), []
    for source in range(n_sources):
        for method in ("real", *methods):
            if (method, source) in lacking:
                continue
            for frame in range(n_frames):
                path = f"{method}/{source:03d}/{frame:04d}.png"
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                noise = rng.integers(0, 256, (size, size + source, 3), dtype=np.uint8)
                Image.fromarray(noise).save(root / path)
                rows.append({
                    "path": path, "dataset": "toy", "method": method, "compression": "c23",
                    "video_id": f"{source:03d}", "source_id": f"s{source}", "frame": frame,
                    "label": int(method != "real"), "role": "fit",
                })  # fmt: skip
    return pd.DataFrame(rows)


def mean_color(images):
    """Processor stand-in: a (3, 2, 2) tensor of the channel means."""
    means = np.stack([image.mean(axis=(0, 1)) for image in images]) / 255
    return torch.from_numpy(means).float()[:, :, None, None].expand(-1, -1, 2, 2)


def shift(image, rng):
    return np.full_like(image, rng.integers(256))


def test_samples_are_the_crops_in_table_order(tmp_path):
    table = crops(tmp_path)
    data = CropDataset(table, tmp_path, mean_color)
    for index in (0, 5, len(table) - 1):
        image = np.asarray(Image.open(tmp_path / table["path"][index]))
        sample = data[index]
        expected = torch.tensor(image.mean(axis=(0, 1)) / 255).float()
        assert torch.allclose(sample["pixel_values"][:, 0, 0], expected)
        assert sample["labels"] == table["label"][index] and sample["index"] == index
    batch = next(iter(DataLoader(data, batch_size=3)))
    assert batch["pixel_values"].shape == (3, 3, 2, 2)
    assert torch.equal(batch["pixel_values"][2], data[2]["pixel_values"])
    assert torch.equal(data[-1]["pixel_values"], data[len(data) - 1]["pixel_values"])
    with pytest.raises(IndexError):
        data[len(data)]


def test_one_crop_as_it_is_on_disk(tmp_path):
    table = crops(tmp_path, n_sources=1, n_frames=3, methods=())
    data = CropDataset(table, tmp_path, mean_color, augment=shift)
    with Image.open(tmp_path / table["path"][1]) as file:
        assert np.array_equal(data.image(1), np.asarray(file))
    with pytest.raises(ValueError, match="read-only"):
        data.image(1)[:] = 0
    (tmp_path / table["path"][0]).unlink()
    with pytest.raises(ValueError, match=r"row 0 \(toy/real/c23/000 frame 0"):
        data.image(0)


def test_a_real_and_its_fakes_share_the_draw_and_others_do_not(tmp_path):
    table = crops(tmp_path)
    data = CropDataset(table, tmp_path, mean_color, augment=shift, seed=3)
    values = np.array([float(data[i]["pixel_values"][0, 0, 0]) for i in range(len(table))])
    groups = table.assign(value=values).groupby(["source_id", "frame"])["value"]
    assert (groups.nunique() == 1).all()
    assert groups.first().nunique() > 4  # 8 draws of 256 values
    alone = CropDataset(table, tmp_path, mean_color, augment=shift, seed=3, paired=False)
    values = [float(alone[i]["pixel_values"][0, 0, 0]) for i in range(len(table))]
    assert len(set(values)) > 18  # 24 draws of 256 values


def test_the_draw_depends_on_seed_and_epoch_only(tmp_path):
    table = crops(tmp_path)

    def values(seed, epoch, order):
        data = CropDataset(table.iloc[order], tmp_path, mean_color, augment=shift, seed=seed)
        data.set_epoch(epoch)
        out = np.empty(len(table))
        out[order] = [float(data[k]["pixel_values"][0, 0, 0]) for k in range(len(order))]
        return out

    order, back = np.arange(len(table)), np.arange(len(table))[::-1]
    assert np.array_equal(values(0, 1, order), values(0, 1, back))
    assert not np.array_equal(values(0, 1, order), values(0, 2, order))
    assert not np.array_equal(values(0, 1, order), values(1, 1, order))


def test_workers_give_the_same_samples(tmp_path):
    table = crops(tmp_path, n_sources=2)
    data = CropDataset(table, tmp_path, mean_color, augment=shift)
    batches = [list(DataLoader(data, batch_size=4, num_workers=n)) for n in (0, 1)]
    for a, b in zip(*batches, strict=True):
        assert torch.equal(a["pixel_values"], b["pixel_values"])


def test_threads_give_the_same_samples(tmp_path):
    table = crops(tmp_path, n_sources=2)
    order = [5, 0, 3, 3, 7, 1]
    batches = []
    for n_threads in (1, 3):
        torch.set_num_threads(n_threads)
        data = CropDataset(table, tmp_path, mean_color, augment=shift)
        batches.append(torch.stack([sample["pixel_values"] for sample in data.__getitems__(order)]))
        (path := tmp_path / table["path"][6]).rename(tmp_path / "gone.png")
        with pytest.raises(ValueError, match="row 6 .* is not a readable image"):
            data.__getitems__([2, 6])
        (tmp_path / "gone.png").rename(path)
    torch.set_num_threads(1)
    assert torch.equal(*batches)


def test_features_come_in_versions_by_epoch():
    features = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    data = FeatureDataset(features, np.array([0, 1, 1]))
    for epoch, version in ((0, 0), (1, 1), (2, 0), (5, 1)):
        data.set_epoch(epoch)
        assert data[2]["pixel_values"].tolist() == features[version, 2].tolist()
    assert len(data) == 3 and data[1]["labels"] == 1 and data[1]["index"] == 1
    one = FeatureDataset(features[0], np.array([0, 1, 1]))
    one.set_epoch(3)
    assert one[0]["pixel_values"].tolist() == [0.0, 1.0]
    with pytest.raises(ValueError, match="got features .2, 3, 2. and 2 labels"):
        FeatureDataset(features, np.array([0, 1]))


@pytest.mark.parametrize("wrap", [dict, lambda pixel_values: list(pixel_values.numpy())])
def test_processors_of_every_kind(wrap):
    images = [np.full((4, 4, 3), value, np.uint8) for value in (0, 255)]

    def processor(images):
        return wrap(pixel_values=mean_color(images))

    assert torch.equal(to_pixels(processor, images), mean_color(images))


def test_errors_name_the_row(tmp_path):
    table = crops(tmp_path, n_sources=2, n_frames=1)
    with pytest.raises(ValueError, match=r"row 1 \(toy/DF/c23/000 frame 0, .*label 2"):
        CropDataset(table.assign(label=[0, 2, 1, 0, 1, 1]), tmp_path, mean_color)
    with pytest.raises(ValueError, match="no rows"):
        CropDataset(table.iloc[:0], tmp_path, mean_color)
    with pytest.raises(ValueError, match="relative"):
        CropDataset(table.assign(path="../x.png"), tmp_path, mean_color)
    (tmp_path / table["path"][4]).write_text("not an image")
    with pytest.raises(ValueError, match=r"row 4 .*001/0000.png\) is not a readable image"):
        CropDataset(table, tmp_path, mean_color)[4]
    (tmp_path / table["path"][4]).unlink()
    with pytest.raises(FileNotFoundError, match=r"row 4 .*check root"):
        CropDataset(table, tmp_path, mean_color)


def test_paired_batches_hold_each_fake_beside_its_real(tmp_path):
    # NT is missing for two of five sources: it is repeated, so that methods stay balanced.
    table = crops(tmp_path, n_sources=5, n_frames=3, lacking=[("NT", 0), ("NT", 1)])
    sampler = PairedBatchSampler(table, batch_size=8, seed=1)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 2 * 15 // 4  # 15 pairs per method, 4 pairs per batch
    seen = Counter()
    for batch in batches:
        rows = table.iloc[batch]
        assert len(batch) == 8 and rows["label"].tolist() == [0] * 4 + [1] * 4
        reals, fakes = rows.iloc[:4], rows.iloc[4:]
        for column in ("dataset", "source_id", "frame", "compression"):
            assert reals[column].tolist() == fakes[column].tolist()
        counts = fakes["method"].value_counts()
        assert counts.max() - counts.min() <= 1 and len(counts) == 2
        seen.update(batch[4:])
    assert all(seen[i] <= 1 for i in table.index[table["method"] == "DF"])
    assert max(seen.values()) == 2  # 9 NT pairs fill 15 places


def test_paired_batches_depend_on_seed_and_epoch(tmp_path):
    table = crops(tmp_path)
    one, two = PairedBatchSampler(table, 4, seed=0), PairedBatchSampler(table, 4, seed=0)
    assert list(one) == list(one) == list(two)
    one.set_epoch(1)
    assert list(one) != list(two)
    two.set_epoch(1)
    assert list(one) == list(two)
    assert list(PairedBatchSampler(table, 4, seed=1)) != list(PairedBatchSampler(table, 4, seed=0))


def test_pairs_do_not_cross_compressions(tmp_path):
    table = crops(tmp_path)
    mixed = table.assign(compression=np.where(table["label"] == 0, "raw", "c23"))
    with pytest.raises(ValueError, match="compression"):
        PairedBatchSampler(mixed, 4)


def test_paired_sampler_errors(tmp_path):
    table = crops(tmp_path, n_sources=2, n_frames=1)
    with pytest.raises(ValueError, match="even"):
        PairedBatchSampler(table, 3)
    with pytest.raises(ValueError, match="needs 5 pairs, the table has 4"):
        PairedBatchSampler(table, 10)
    lonely = table.assign(source_id=np.where(table["label"] == 1, "x", table["source_id"]))
    with pytest.raises(ValueError, match="paired=False"):
        PairedBatchSampler(lonely, 4)


def test_random_batches_visit_each_row_at_most_once():
    sampler = RandomBatchSampler(11, 4, seed=2)
    rows = [row for batch in sampler for row in batch]
    assert len(sampler) == 2 and len(rows) == len(set(rows)) == 8 and set(rows) <= set(range(11))
    first = list(sampler)
    sampler.set_epoch(1)
    assert first != list(sampler)
    with pytest.raises(ValueError, match="1 to 3"):
        RandomBatchSampler(3, 4)
