# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 99. A notebook that keeps every rule
#
# The tests break it in many ways and expect each break to be found.
#
# | time | fast 0:05 (CPU, 2 cores) | level | beginner | needs | 00 |
# |---|---|---|---|---|---|
#
# **You will learn** to tell a good notebook from a broken one.
#
# **Why it matters.** A check that never fails checks nothing.

# %% tags=["parameters"]
profile: str = "fast"  # fast, demo or full; recorded with every result
seed: int = 0  # base seed of all generators
data_dir: str = ""  # empty means the embedded data
out_dir: str = ""  # empty means _build/out
n_points: int = 40  # points on the circle
turns: float = 1.0  # how often the curve goes round

# %% [markdown]
# The setup cell imports what this chapter uses and fixes the seed.

# %% tags=["setup"]
import sys

if "google.colab" in sys.modules:
    # %pip install -q -e "..[faces]"
    pass

from pathlib import Path

import numpy as np
import plotly.graph_objects as go

rng = np.random.default_rng(seed)
print(f"profile {profile}, seed {seed}")

# %% [markdown]
# ## A circle
#
# A unit vector has length one: $\lVert z \rVert_2 = 1$, so in the plane
#
# $$ z(t) = (\cos t, \sin t), \qquad \operatorname{LN}(x) = \gamma \odot \hat{x} + \beta . $$

# %%
t = np.linspace(0, 2 * np.pi * turns, n_points)
figure = go.Figure(go.Scatter(x=np.cos(t), y=np.sin(t), mode="markers", name="unit vectors"))
figure.update_layout(
    title="All points have length one",
    meta={"alt": "Points on a circle of radius one.", "caption": "Unit vectors in the plane."},
)
figure

# %% [markdown]
# ## A sphere
#
# The same in three dimensions.

# %%
points = rng.normal(size=(n_points, 3))
points /= np.linalg.norm(points, axis=1, keepdims=True)
sphere = go.Figure(go.Scatter3d(x=points[:, 0], y=points[:, 1], z=points[:, 2], mode="markers"))
sphere.update_layout(meta={"alt": "Random points on a sphere."}, height=400)
sphere.show()

# %% [markdown]
# ## A length
#
# The length is computed, not typed.

# %%
out = Path(out_dir or "../_build/out")
out.mkdir(parents=True, exist_ok=True)
length = float(np.hypot(np.cos(t), np.sin(t)).mean())
(out / "length.txt").write_text(f"{length:.3f}\n")
print(f"mean length {length:.3f}")

# %% [markdown]
# ## What to remember
#
# - Unit vectors live on a sphere.
# - A check needs a case that fails.
# - Numbers in the text are computed.

# %% [markdown]
# ## Limits and misuse
#
# It is an example for tests and says nothing about faces.

# %% [markdown]
# ## Exercises
#
# 1. **Predict** (1 min). What is the mean length for 80 points?
# 2. **Change** (1 min). Let the curve go round twice.
# 3. **Build** (3 min). Draw an ellipse.

# %% tags=["exercise"]
answer = None  # your turn

# %% [markdown]
# ## Solutions

# %% tags=["hide-cell", "solution"]
answer = 1.0
assert abs(answer - length) < 1e-6

# %% tags=["hide-cell", "solution"]
twice = np.linspace(0, 4 * np.pi, n_points)
assert twice[-1] == 4 * np.pi

# %% tags=["hide-cell", "solution"]
ellipse = np.stack([2 * np.cos(t), np.sin(t)])
assert np.isclose(np.abs(ellipse[0]).max(), 2)

# %% [markdown]
# ## Further reading
#
# - [Wang and Isola, 2020](https://arxiv.org/abs/2005.10242) [@wang2020alignment]: why the sphere.
# - [Yermakov et al., 2025](https://arxiv.org/abs/2508.06248) [@yermakov2025gend]: the detector this book teaches.
# - [McInnes et al., 2018](https://arxiv.org/abs/1802.03426) [@mcinnes2018umap]: the map of the last chapter.

# %% [markdown]
# ## Next
#
# The real chapters start with 00.
