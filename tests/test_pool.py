"""The pool: who is drawn, with which films and twins, and how it grows."""

import numpy as np
import pytest
import torch

pytest.importorskip("cv2")
pytest.importorskip("numba")

from small_footage import write_footage  # noqa: E402

from gendkit.pretrain.pool import HELD_OUT, Pool  # noqa: E402

PEOPLE = [0, 1, 1, 2, 3, HELD_OUT, HELD_OUT, HELD_OUT + 1, 2 * HELD_OUT]


def who(batch: dict[str, torch.Tensor]) -> np.ndarray:
    return batch["identity"][:, 0].numpy()  # `small_footage.facts` writes the number there


def film(batch: dict[str, torch.Tensor]) -> np.ndarray:
    return batch["camera"][:, -1].numpy()  # `small_footage.write_footage` counts films there


def test_held_out_people_are_never_drawn(tmp_path):
    write_footage(tmp_path, PEOPLE * 2, n_plain=3)
    fit, held = Pool(tmp_path), Pool(tmp_path, held_out=True)
    assert fit.identities == [1, 2, 3, HELD_OUT + 1]
    assert held.identities == [0, HELD_OUT, 2 * HELD_OUT]
    assert len(fit) + len(held) == 2 * (2 * len(PEOPLE) + 3)  # twins of each
    rng = np.random.default_rng(0)
    for pool, allowed in ((fit, {1, 2, 3, HELD_OUT + 1}), (held, {0, HELD_OUT, 2 * HELD_OUT})):
        drawn = np.concatenate([who(pool.batch(rng, 32)) for _ in range(20)])
        assert set(drawn[np.isfinite(drawn)]) == allowed


def test_batch_is_twins_of_two_films_of_each_person_and_ends_without_one(tmp_path):
    write_footage(tmp_path, PEOPLE, 0, n_plain=3)
    write_footage(tmp_path, PEOPLE, 1, n_plain=3)
    pool = Pool(tmp_path)
    batch = pool.batch(np.random.default_rng(1), 48)
    assert batch["people"].shape == (11, 0) and len(batch["images"]) == 48
    drawn, films = who(batch).reshape(12, 2, 2), film(batch).reshape(12, 2, 2)
    assert (drawn[:11] == drawn[:11, :1, :1]).all()  # rows 4k to 4k + 3: one person
    assert np.isnan(drawn[11]).all() and np.isfinite(drawn[:11]).all()
    assert (films[..., 0] == films[..., 1]).all()  # rows 2k and 2k + 1: one film
    assert (films[:, 0] != films[:, 1]).all()  # two films where there are two
    for name in ("landmarks", "identity", "expression", "pose", "light"):
        assert batch[name][-4:].isnan().all() and batch[name][:-4].isfinite().all()
        assert (batch[name][:-4:2] == batch[name][1:-4:2]).all()
    for name in ("images", "maps", "texture"):
        assert (batch[name][::2] != batch[name][1::2]).flatten(1).any(1).all()
    small = pool.batch(np.random.default_rng(1), 12)  # too small for pictures without a person
    assert small["people"].shape == (3, 0) and np.isfinite(who(small)).all()


def test_as_many_people_as_there_is_room_for(tmp_path):
    write_footage(tmp_path, list(range(1, 21)) * 2)
    drawn = who(Pool(tmp_path).batch(np.random.default_rng(2), 80))
    assert len(set(drawn)) == 20
    few = who(Pool(tmp_path).batch(np.random.default_rng(2), 96))  # 24 from 20: some twice
    assert len(few) == 96 and (few[::4] == few[3::4]).all()


def test_batch_has_the_stated_form_and_order(tmp_path):
    path = write_footage(tmp_path, [1, 1])
    with np.load(path) as data:
        stored = {name: data[name] for name in data.files}
    batch = Pool(tmp_path).batch(np.random.default_rng(3), 4)
    assert batch["images"].shape == (4, 3, 128, 128) and batch["images"].is_contiguous()
    assert batch["maps"].shape == (4, 64, 7) and batch["landmarks"].shape == (4, 136)
    assert all(t.dtype == torch.float32 for t in batch.values())
    first = int(film(batch)[0])
    order = [0, 1, 2, 3] if first == 0 else [2, 3, 0, 1]  # of the films; twins keep their order
    wanted = torch.from_numpy(stored["images"][order]).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(batch["images"], wanted)
    for name in ("maps", "texture", "landmarks", "camera", "pose"):
        np.testing.assert_array_equal(batch[name], stored[name][order].astype(np.float32))


def test_one_film_of_a_person_is_drawn_twice(tmp_path):
    path = write_footage(tmp_path, [1])
    batch = Pool(tmp_path).batch(np.random.default_rng(0), 4)
    with np.load(path) as data:
        wanted = torch.from_numpy(data["images"][[0, 1, 0, 1]]).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(batch["images"], wanted)


def test_refresh_takes_up_new_shards_and_tries_half_written_ones_again(tmp_path, capsys):
    write_footage(tmp_path, [1, 2], 0)
    pool = Pool(tmp_path)
    assert len(pool) == 4 and pool.refresh() == 0
    path = write_footage(tmp_path, [3, 3, 4], 1)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert pool.refresh() == 0 and len(pool) == 4
    assert "footage-00-00001.npz is not complete yet" in capsys.readouterr().out
    path.write_bytes(whole)
    assert pool.refresh() == 1 and len(pool) == 10 and pool.identities == [1, 2, 3, 4]


def test_moments_leave_out_pictures_without_a_person(tmp_path):
    path = write_footage(tmp_path, [1, 2, 3, 4, 5], n_plain=4)
    with np.load(path) as data:
        pose, camera = data["pose"][:10], data["camera"]
    moments = Pool(tmp_path).moments()
    mean, std = moments["pose"]
    np.testing.assert_allclose(mean, pose.mean(0), atol=1e-6)
    np.testing.assert_allclose(std, pose.std(0), rtol=0.02)
    np.testing.assert_allclose(moments["camera"][0], camera.mean(0), rtol=1e-5)
