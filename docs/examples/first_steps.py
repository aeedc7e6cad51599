"""First steps: a model, a latent, its local basis, and an edit along the first direction."""

import diffgeo

model = diffgeo.load_model("factor_faces")
x = diffgeo.initial_noise(model, [0])
f = model.feature_map(model.schedule.T)  # h = f(x): runs the U-Net only as far as its bottleneck
basis = diffgeo.local_basis(f, x, rank=10)  # J = U diag(s) V^T, never formed
print(basis.s, basis.certificate.residual, basis.certificate.passes)

edited = diffgeo.single_step(x[0], basis.V[:, 0], gammas=basis.s.new_tensor([-3.0, 0.0, 3.0]))
pictures = model.decode(diffgeo.ddim_sample(model, edited, steps=40, clip=True))
