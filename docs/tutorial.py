# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a model to a direction to an edit
#
# Two dozen lines of the public API, under a minute on two cores; nothing is downloaded.

# %% [markdown]
# The model that ships draws portraits of 32×32 pixels. A sample begins as noise, drawn from a seed at the last
# timestep T, and DDIM turns it into a picture.

# %%
import torch
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

import diffgeo

model = diffgeo.load_model("factor_faces")
x = diffgeo.initial_noise(model, [0, 5, 8])


def show(latents, columns):
    pictures = model.decode(diffgeo.ddim_sample(model, latents, steps=20, clip=True))
    grid = to_pil_image(make_grid(pictures, nrow=columns, normalize=True, value_range=(-1, 1), pad_value=1))
    return grid.resize((3 * grid.width, 3 * grid.height))


show(x, columns=3)

# %% [markdown]
# The network's bottleneck h = f(x) changes most along the leading right singular vectors of its Jacobian ∂h/∂x: a
# basis V of directions that nobody labelled. The Jacobian has 8192 × 3072 numbers and is never formed; the
# certificate says how well the vectors are known.

# %%
f = model.feature_map(model.schedule.T)
basis = diffgeo.local_basis(f, x[0], rank=10, tol=1e-3)
print(*(f"{s:.2f}" for s in basis.s), f"\nresidual {basis.certificate.residual:.0e}, {basis.certificate.passes} passes")

# %% [markdown]
# An edit moves the noise before it is denoised: x + γv, with γ from −3 to 3, where x is about 55 long. One row a
# direction; the middle column is the face as it was.

# %%
gammas = torch.linspace(-3, 3, 7)
edited = torch.cat([diffgeo.single_step(x[0], v, gammas) for v in basis.V.T[:4]])
show(edited, columns=7)

# %% [markdown]
# A direction belongs to its point. To do the same to other faces, its image u in h is carried to the tangent space
# there (parallel transport) and pulled back to a direction of that face's noise. The first row's edit, on two more
# faces:

# %%
bases = [diffgeo.local_basis(f, other, rank=10, tol=1e-3) for other in x[1:]]
carried = [diffgeo.transport(basis.U[:, 0], there)[1] for there in bases]
show(torch.cat([diffgeo.single_step(y, v, gammas) for y, v in zip(x[1:], carried, strict=True)]), columns=7)


# %% [markdown]
# Whole studies run from Python, too. Settings are the words of the command line, and a run gives its tables as data
# frames; its folder, a new `outputs/DATE/TIME` unless you name one, gets figures and a page.

# %%
words = ("study=[spectrum]", "scale=smoke", "schedule.edit=[1.0,0.5]", "tracking=none")
outcome = diffgeo.run(diffgeo.settings(*words))
outcome.tables["spectrum"].groupby("t_frac")[["effective_dimension", "flatness"]].mean()

# %% [markdown]
# One study alone writes nothing. The run's context brings its model, samples and bases:

# %%
diffgeo.run_study("spectrum", outcome.context).table[["name", "t_frac", "effective_dimension"]].head(3)

# %% [markdown]
# On the command line, `diffgeo` does this for any number of samples and timesteps, measures what every direction
# changes, and tests the papers' claims; `diffgeo --help` says how.
