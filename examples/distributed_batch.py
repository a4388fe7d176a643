"""A batch of matrices over several processes: torchrun --nproc-per-node 2 examples/distributed_batch.py

Each process decomposes its share of 101 matrices, forward and backward, without communication. Half of the matrices
have degenerate (repeated) eigenvalues, where the gradient of a projector through torch.linalg.eigh is NaN.
"""

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

import spectralgrad as sg

distributed.init_process_group("gloo")
mesh = init_device_mesh("cpu", (distributed.get_world_size(),))

torch.manual_seed(0)  # all processes start with the same matrices
X = torch.randn(101, 6, 6, dtype=torch.float64)
matrices = X + X.mT
matrices[::2] = torch.diag(torch.tensor([1.0, 1.0, 1.0, 2.0, 2.0, 3.0], dtype=torch.float64))
weight = X[0] + X[0].mT


def loss(A: torch.Tensor, M: torch.Tensor) -> torch.Tensor:
    """Returns the sum of tr(M P), where P is the projector onto the three lowest eigenvectors of each matrix."""
    V = sg.eigh(A).eigenvectors[..., :3]
    return (M * (V @ V.mT)).sum()


A = distribute_tensor(matrices, mesh, [Shard(0)]).requires_grad_()
loss(A, distribute_tensor(weight, mesh, [Replicate()])).backward()

gradient = A.grad
assert isinstance(gradient, DTensor)

reference = matrices.clone().requires_grad_()
loss(reference, weight).backward()
assert reference.grad is not None
difference = (gradient.full_tensor() - reference.grad).abs().max().item()

print(
    f"process {distributed.get_rank()}: {gradient.to_local().shape[0]} of {len(A)} matrices, "
    f"gradient {gradient.placements}, off by {difference:.0e} from one process's\n",
    end="",  # a single write, so that the lines of two processes do not mix
)
distributed.barrier()  # gloo may abort if one process ends before the other is done
distributed.destroy_process_group()
