"""The Jacobian of a network that is no diffusion model: products, a local basis, and scipy's solvers."""

import torch
from scipy.sparse.linalg import svds
from torchvision.models import resnet18
from transformers import BertConfig, BertModel

import diffgeo

torch.manual_seed(0)

# a classifier's logits by its picture: any differentiable function of one tensor will do
classifier = resnet18(weights=None).eval().requires_grad_(False)
picture = torch.rand(1, 3, 64, 64) * 2 - 1
J = diffgeo.JacobianOperator(classifier, picture)
print(J.shape)  # (1000, 12288)
images = J @ torch.eye(12288, 3)  # three directions of pictures, as changes of the logits
gradients = J.T @ torch.eye(1000, 2)  # the gradients of two logits

basis = diffgeo.local_basis(classifier, picture, rank=5)
print(basis)  # the five directions that change the logits most, with residuals

# an encoder's first token by its embeddings, through five blocks of attention
encoder = BertModel(
    BertConfig(hidden_size=64, num_hidden_layers=5, num_attention_heads=4, intermediate_size=128)
).eval()
encoder.requires_grad_(False)
embeddings = torch.randn(1, 12, 64)


def first_token(embeddings: torch.Tensor) -> torch.Tensor:
    """What a classifier on top of the encoder would see."""
    return encoder(inputs_embeds=embeddings).last_hidden_state[:, 0]


of_encoder = diffgeo.JacobianOperator(first_token, embeddings)
largest = svds(of_encoder.to_scipy(), k=3, return_singular_vectors=False)  # by scipy, over the same products
