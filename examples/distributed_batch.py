"""A batch of matrices over several processes: torchrun --nproc-per-node 2 examples/distributed_batch.py

Each process decomposes its share of 101 matrices, forward and backward, and nothing is sent for it. Half of the
matrices repeat their eigenvalues, where torch.linalg's own gradient of a projector is NaN.
"""

import torch
from torch import distributed
from torch.distributed.tensor import Replicate, Shard, distribute_tensor, init_device_mesh

import spectralgrad as sg

distributed.init_process_group("gloo")
mesh = init_device_mesh("cpu", (distributed.get_world_size(),))

torch.manual_seed(0)  # the same matrices everywhere, before they are shared out
X = torch.randn(101, 6, 6, dtype=torch.float64)
matrices = X + X.mT
matrices[::2] = torch.diag(torch.tensor([1.0, 1.0, 1.0, 2.0, 2.0, 3.0], dtype=torch.float64))
weight = X[0] + X[0].mT


def loss(A: torch.Tensor, M: torch.Tensor) -> torch.Tensor:
    """tr(M P), P the projector onto the three lowest eigenvectors of each matrix."""
    V = sg.eigh(A).eigenvectors[..., :3]
    return (M * (V @ V.mT)).sum()


A = distribute_tensor(matrices, mesh, [Shard(0)]).requires_grad_()
loss(A, distribute_tensor(weight, mesh, [Replicate()])).backward()

reference = matrices.clone().requires_grad_()
loss(reference, weight).backward()
difference = (A.grad.full_tensor() - reference.grad).abs().max().item()

print(
    f"process {distributed.get_rank()}: {A.to_local().shape[0]} of {len(A)} matrices, gradient {A.grad.placements}, "
    f"off by {difference:.0e} from one process's\n",
    end="",  # one write, that lines of two processes do not mix
)
distributed.barrier()  # gloo may abort where one process is gone before the other is done
distributed.destroy_process_group()
