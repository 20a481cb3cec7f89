"""Faces: decoding by face-alignment itself, five points, the aligned crop, choice of a face."""

import numpy as np
import pytest
import torch
from conftest import DATA
from torch import nn

from gendkit import faces, fan
from gendkit.faces import Face, FaceEngine, align_crop, choose, five_points
from gendkit.repro import data_dir

needs_packages = pytest.mark.skipif(
    any(__import__("importlib.util").util.find_spec(n) is None for n in ("face_alignment", "dlib")),
    reason="the faces extra is not installed",
)


def face(x0, y0, x1, y1) -> Face:
    return Face(np.array([x0, y0, x1, y1], np.float32), 1.0, np.zeros((68, 2), np.float32))


# ---------------------------------------------------------------- five points


def test_five_points_against_the_slow_way():
    landmarks = np.random.default_rng(0).normal(100, 20, (68, 2))
    slow = np.zeros((5, 2))
    for k in range(68):
        if 36 <= k <= 41:  # iBUG points 37 to 42, counted from 1: the person's right eye
            slow[0] += landmarks[k] / 6
        if 42 <= k <= 47:
            slow[1] += landmarks[k] / 6
    slow[2], slow[3], slow[4] = landmarks[30], landmarks[48], landmarks[54]
    assert five_points(landmarks) == pytest.approx(slow, abs=1e-4)
    assert five_points(landmarks).dtype == np.float32


def test_five_points_names_a_wrong_shape():
    with pytest.raises(ValueError, match=r"\(5, 2\), expected \(68, 2\)"):
        five_points(np.zeros((5, 2)))


# ---------------------------------------------------------------- the crop


@pytest.mark.parametrize("k", range(3))
def test_align_crop_equals_the_official_crops(k):
    with np.load(DATA / "align.npz", allow_pickle=False) as data:
        image, points, scale = data[f"image{k}"], data[f"landmarks{k}"], float(data[f"scale{k}"])
        size, expected = int(data[f"target_size{k}"][0]) or None, data[f"crop{k}"]
    crop = align_crop(image, points, scale, size)
    assert crop.shape == expected.shape and crop.dtype == np.uint8
    difference = np.abs(crop.astype(int) - expected)
    assert difference.mean() <= 0.5 and difference.max() <= 8


def test_align_crop_undoes_a_known_turn():
    cv2 = pytest.importorskip("cv2")
    upright = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8), (0, 0), 4
    )
    turn = cv2.getRotationMatrix2D((99.5, 99.5), 25, 0.9)
    turned = cv2.warpAffine(upright, turn, (200, 200))
    points = faces.TEMPLATE * 120 + 40
    moved = points @ turn[:, :2].T + turn[:, 2]
    a, b = align_crop(upright, points, 1.3, 128), align_crop(turned, moved, 1.3, 128)
    assert np.abs(a.astype(int) - b)[10:-10, 10:-10].mean() < 1.5


def test_native_size_keeps_the_pixel_size():
    points = faces.TEMPLATE * 80 + 30
    image = np.zeros((200, 200, 3), np.uint8)
    assert align_crop(image, points, 1.0, None).shape == (80, 80, 3)
    assert align_crop(image, points, 1.3, None).shape == (104, 104, 3)


def test_align_crop_errors():
    image, points = np.zeros((50, 50, 3), np.uint8), faces.TEMPLATE * 40
    with pytest.raises(ValueError, match="uint8 RGB"):
        align_crop(image.astype(float), points)
    with pytest.raises(ValueError, match="empty image"):
        align_crop(image[:0], points)
    with pytest.raises(ValueError, match=r"expected finite \(5, 2\)"):
        align_crop(image, points[:4])
    with pytest.raises(ValueError, match="give no crop"):
        align_crop(image, np.full((5, 2), 7.0))
    with pytest.raises(ValueError, match="scale > 0"):
        align_crop(image, points, scale=0)


# ---------------------------------------------------------------- choosing


def test_choose_policies():
    small, big = face(0, 0, 10, 10), face(60, 0, 90, 30)
    middle = face(40, 40, 60, 60)
    group = [small, middle, big]
    assert choose(group) is big
    assert choose(group, "central", shape=(100, 100, 3)) is middle
    mask = np.zeros((100, 100), np.float32)
    mask[2:8, 2:8] = 0.5
    assert choose(group, "mask", mask=mask) is small
    assert choose(group, "mask", mask=np.zeros((100, 100))) is big  # equal overlap: the largest
    assert choose(group, "all") == [big, middle, small]
    assert choose([], "largest") is None
    assert choose([], "all") == []


def test_mask_overlap_counts_pixels_of_boxes_that_cross_the_border():
    mask = np.zeros((50, 60), bool)
    mask[:20, 30:] = True
    for box in ([-5, -5, 40, 10], [35, 15, 80, 70], [-30, 5, -10, 20], [70, 0, 80, 10]):
        slow = sum(
            bool(mask[y, x])
            for y in range(50)
            for x in range(60)
            if box[0] <= x <= box[2] and box[1] <= y <= box[3]
        )
        assert faces.overlap(np.array(box, np.float32), mask) == slow


def test_choose_errors():
    with pytest.raises(ValueError, match="expected one of"):
        choose([], "nearest")
    with pytest.raises(ValueError, match="pass mask="):
        choose([], "mask")
    with pytest.raises(ValueError, match=r"image\.shape"):
        choose([], "central")


# ---------------------------------------------------------------- face-alignment as the engine


class _Painter(nn.Module):
    """A stand-in network whose heatmaps are known: landmark k peaks at cell (x, y) = CELLS[k]."""

    CELLS = np.random.default_rng(3).integers(4, 60, (68, 2))

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Size] = []

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        self.seen.append(images.shape)
        maps = torch.zeros(len(images), 68, 64, 64)
        for k, (x, y) in enumerate(self.CELLS):
            maps[:, k, y, x] = 1
            maps[:, k, y, x + 1] = 0.5  # uphill to the right ...
            maps[:, k, y - 1, x] = 0.5  # ... and upwards
        return [torch.zeros(len(images), 68, 64, 64), maps]


@needs_packages
def test_decoding_is_that_of_face_alignment(monkeypatch, tmp_path):
    import face_alignment

    painter = _Painter()
    monkeypatch.setattr(fan, "load_light_fan", lambda path: painter)
    kind = faces.embedded_face_alignment()
    assert issubclass(kind, face_alignment.FaceAlignment)
    changed = {
        n
        for n in vars(kind)
        if callable(getattr(kind, n)) and n in dir(face_alignment.FaceAlignment)
    }
    assert changed - {"__init__"} == {"_load_native"}  # crop, flip and decoding are its own
    (tmp_path / "w.safetensors").write_bytes(b"")
    engine = FaceEngine(
        landmarks=tmp_path / "w.safetensors", device="cpu", flip=False, batch_size=2
    )
    image = np.zeros((400, 300, 3), np.uint8)
    boxes = [
        np.array(b, np.float32) for b in ([50, 60, 150, 160], [120, 90, 260, 230], [9, 9, 99, 99])
    ]
    found = engine.landmarks(image, boxes)
    assert [tuple(s) for s in painter.seen] == [(2, 3, 256, 256), (1, 3, 256, 256)]
    shift_x, shift_y, size = faces.DLIB_SQUARE
    for box, points in zip(boxes, found, strict=True):
        side = box[2] - box[0]
        center = (box[:2] + box[2:]) / 2 + np.array([shift_x, shift_y]) * side
        for k, (x, y) in enumerate(_Painter.CELLS):
            cell = np.array([x + 0.5 + 0.25, y + 0.5 - 0.25])  # a quarter of a cell uphill
            where = center + (cell / 64 - 0.5) * size * side
            # whole pixels: face-alignment cuts off the fraction
            assert (
                np.abs(points[k] - np.trunc(where)).max() <= 1e-3
                or np.abs(where - np.rint(where)).min() < 1e-3
            )


@pytest.fixture(scope="module")
def engine() -> FaceEngine:
    pytest.importorskip("face_alignment")
    pytest.importorskip("dlib")
    return FaceEngine(device="cpu")


@pytest.fixture(scope="module")
def frames() -> tuple[np.ndarray, np.ndarray]:
    """First frames of two real clips of the embedded benchmark, and their true landmarks."""
    from gendkit import manifest, video

    root = data_dir() / "nobody"
    table = manifest.read(root / "manifest.csv")
    table = table[(table["method"] == "real") & (table["role"] == "report")].head(2)
    images = np.concatenate([video.read_frames(root / p, [0]) for p in table["path"]])
    with np.load(root / "landmarks.npz", allow_pickle=False) as truth:
        points = np.stack([truth[v][0] for v in table["video_id"]])
    return images, points


def _error(points: np.ndarray, truth: np.ndarray) -> float:
    ocular = np.linalg.norm(truth[36] - truth[45])
    return float(np.linalg.norm(points - truth, axis=1).mean() / ocular)


def test_landmarks_of_rendered_faces_are_near_the_truth(engine, frames):
    images, truth = frames
    found = engine(images)
    assert [len(f) for f in found] == [1, 1]
    for (one,), points in zip(found, truth, strict=True):
        assert (
            one.box.shape == (4,) and one.landmarks.shape == (68, 2) and one.points.shape == (5, 2)
        )
        assert _error(one.landmarks, points) < 0.1


def test_two_faces_in_one_image(engine, frames):
    images, truth = frames
    wide = np.concatenate(list(images), axis=1)
    (found,) = engine([wide])
    assert len(found) == 2
    left, right = sorted(found, key=lambda f: f.box[0])
    assert _error(left.landmarks, truth[0]) < 0.1
    assert _error(right.landmarks - [images.shape[2], 0], truth[1]) < 0.1
    assert found[0].score >= found[1].score


def test_shrinking_for_detection_keeps_the_place(engine, frames):
    images, truth = frames
    large = images[0].repeat(5, axis=0).repeat(5, axis=1)  # 1280 pixels, above detect_size
    (found,) = engine([large])
    assert len(found) == 1
    assert _error((found[0].landmarks - 2) / 5, truth[0]) < 0.1


def test_no_face_is_an_empty_list(engine):
    assert engine([np.full((200, 200, 3), 90, np.uint8)]) == [[]]
    assert engine([]) == []
    for shape in ((1, 1, 3), (1, 2000, 3)):
        assert engine([np.zeros(shape, np.uint8)]) == [[]]
    assert engine.landmarks(np.zeros((9, 9, 3), np.uint8), []) == []


def test_engine_names_bad_images(engine):
    good = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match=r"expected a list of images; use \[image\]"):
        engine(good)
    with pytest.raises(ValueError, match="image 1: got float64"):
        engine([good, good / 255])
    with pytest.raises(ValueError, match=r"expected uint8 RGB of shape \(H, W, 3\)"):
        engine([good[..., 0]])
    with pytest.raises(ValueError, match="empty image"):
        engine([good[:, :0]])
    with pytest.raises(ValueError, match="got list, expected"):
        engine([[1, 2]])


def test_engine_names_bad_settings():
    with pytest.raises(ValueError, match="expected one of"):
        FaceEngine(detector="haar")


@needs_packages
def test_official_weights_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="landmarks='embedded'"):
        FaceEngine(landmarks="official")


@needs_packages
def test_official_network_runs_from_a_local_file(tmp_path, monkeypatch):
    """The official class with random weights, small enough to build: FAN(1)."""
    import face_alignment

    torch.manual_seed(0)
    network = face_alignment.api.FAN(1)
    torch.save(network.state_dict(), tmp_path / "fan1.pth.tar")
    kind = faces.embedded_face_alignment()
    loaded = kind(
        face_alignment.LandmarksType.TWO_D, network_size=1, device="cpu", compile=False,
        face_detector="folder", weights=tmp_path / "fan1.pth.tar",
    ).face_alignment_net  # fmt: skip
    assert type(loaded) is face_alignment.api.FAN and not loaded.training
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


# ---------------------------------------------------------------- batches, confidence, weights


def _passes(engine):
    """Batch sizes of the network's passes, in a list that fills as it works."""
    sizes = []
    hook = engine.alignment.face_alignment_net.register_forward_pre_hook(
        lambda _, given: sizes.append(given[0].shape[0])
    )
    return sizes, hook


def test_faces_of_several_images_go_through_the_network_together(frames):
    images, _ = frames
    wide = np.concatenate(list(images), axis=1)  # two faces, another size
    together = FaceEngine(device="cpu", batch_size=3)
    sizes, hook = _passes(together)
    given = [images[0], np.full((200, 200, 3), 90, np.uint8), wide, images[1]]
    found = together(given)
    hook.remove()
    assert [n for n in sizes if n > 1] == [3] and sizes[-1] == 1  # four faces in batches of three
    alone = FaceEngine(device="cpu", across=False)
    expected = [alone([image])[0] for image in given]
    assert [len(f) for f in found] == [len(f) for f in expected] == [1, 0, 2, 1]
    for a, b in zip(sum(found, []), sum(expected, []), strict=True):
        np.testing.assert_array_equal(a.box, b.box)
        np.testing.assert_array_equal(a.landmarks, b.landmarks)
        assert a.landmarks.dtype == np.float32 and a.score == b.score
    assert together.settings == alone.settings  # same results, so one cache for both


def test_a_face_whose_landmarks_hang_on_the_last_bits_goes_through_alone(frames, monkeypatch):
    """A network that answers a batch with other last bits; alone its answer is another corner."""
    images, _ = frames

    class Wobbly(nn.Module):
        def forward(self, pixels):
            heat = torch.zeros(len(pixels), 68, 64, 64)
            heat[:, :, 30, 30] = 1.0
            heat[:, :, 30, 29] = 0.5
            heat[:, :, 30, 31] = 0.5 + (1e-6 if len(pixels) > 1 else -1e-6)  # batch: to the right
            heat[:, :, 29, 30] = 0.6  # up, for certain
            return [heat]

    together, alone = (FaceEngine(device="cpu", across=a) for a in (True, False))
    for one in (together, alone):
        monkeypatch.setattr(one.alignment, "face_alignment_net", Wobbly())
    found, expected = together(images), [alone([image])[0] for image in images]
    for (a,), (b,) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.landmarks, b.landmarks)
    monkeypatch.setattr(fan, "unsure", lambda heat: np.zeros(len(heat), bool))
    (spoilt,) = together(images)[0]
    assert np.abs(spoilt.landmarks - found[0][0].landmarks).max() > 0.5  # the check is what helps


def test_unsure_sees_ties_of_peaks_and_of_neighbours(rng):
    from gendkit.fan import unsure

    heat = rng.permuted(np.linspace(0, 0.5, 3 * 68 * 256).reshape(3, 68, 256), axis=2)
    heat = heat.reshape(3, 68, 16, 16)
    heat[:, :, 8, 8], heat[:, :, 8, 7], heat[:, :, 8, 9] = 1.0, 0.6, 0.7
    heat[:, :, 7, 8], heat[:, :, 9, 8] = 0.65, 0.75
    assert unsure(heat, 1e-4).tolist() == [False] * 3
    heat[1, 40, 9, 8] = 0.65005  # two neighbours alike: the quarter cell may go either way
    heat[2, 5, 2, 3] = 0.99995  # two peaks alike: the landmark may jump
    assert unsure(heat, 1e-4).tolist() == [False, True, True]
    assert unsure(heat, 1e-5).tolist() == [False] * 3
    heat[0, 0, 8, 8], heat[0, 0, 0, 8] = 0.8, 1.0  # at the border no neighbour is compared
    assert unsure(heat, 1e-4).tolist() == [False, True, True]


def test_the_network_is_surer_on_a_face(engine, frames):
    images, _ = frames
    ((box, _),) = engine.detect(images[0])
    (points, plain), sure = engine.scored_landmarks(images[0], [box, box - 90])
    np.testing.assert_array_equal(points, engine.landmarks(images[0], [box])[0])
    assert plain.shape == (68, 2) and sure[0] > 1.5 * sure[1]
    seconds = dict(engine.seconds)
    engine([images[0]])
    assert all(engine.seconds[name] > seconds[name] for name in ("detect", "landmarks"))


@needs_packages
def test_weights_of_a_detector_missing_names_file_address_and_place(tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("no network")

    from face_alignment.detection.sfd import sfd_detector

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(sfd_detector, "load_state_dict_from_url", offline)
    with pytest.raises(FileNotFoundError) as raised:
        FaceEngine(detector="sfd", device="cpu")
    for part in ("s3fd-619a316812.pth from https://", str(tmp_path), "detector='dlib'"):
        assert part in str(raised.value)
    assert not faces.detector_files("dlib")
    for name in ("sfd", "blazeface", "scrfd", "yunet"):  # retinaface's module needs torchvision
        files = faces.detector_files(name)
        assert files and all(url.startswith("https://") for url in files.values()), name
        assert all(path.parent == tmp_path / "hub" / "checkpoints" for path in files)


@needs_packages
def test_a_threshold_reaches_the_detector(monkeypatch):
    """A detector of face-alignment drops what is below its own threshold before ours is asked."""
    given = []

    class Stop(Exception):
        pass

    def alignment(*args, **kwargs):
        given.append(kwargs["face_detector_kwargs"])
        raise Stop

    monkeypatch.setattr(faces, "embedded_face_alignment", lambda: alignment)
    for detector, threshold in (("retinaface", 0.1), ("sfd", 0.2), ("sfd", 0.0), ("dlib", 0.3)):
        with pytest.raises(Stop):
            FaceEngine(detector=detector, threshold=threshold, device="cpu")
    assert given == [{"confidence_threshold": 0.1}, {"filter_threshold": 0.2}, None, None]
