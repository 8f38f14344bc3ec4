"""Network slimming (Liu et al. 2017) with the public API alone: python slim.py

Train with L1 on the scaling factors, prune half of the channels, fine-tune; repeat until the error is too
high. Runs in half a minute on a CPU.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import netslim

EPOCHS, BATCH, RATE, LAMBDA, PERCENT, ALLOWED_RISE = 10, 50, 0.1, 0.02, 0.5, 1.5

torch.manual_seed(0)
torch.set_num_threads(1)  # more threads only wait for each other on images of 8 x 8 pixels
digits = load_digits()
images = torch.from_numpy(digits.images).float()[:, None] / 8 - 1  # [1797, 1, 8, 8], from -1 to 1
labels = torch.from_numpy(digits.target)
training, test = torch.randperm(len(labels)).split([1000, 797])


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU: the BatchNorm has one scaling factor for each output channel."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def train(model: nn.Module, lam: float = 0.0) -> float:
    """Train by gradient descent, with the L1 term if lam is above 0; returns the test error in percent."""
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, nesterov=True, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        model.train()
        for batch in training[torch.randperm(len(training))].split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            netslim.sparsity.add_l1_subgradient(model, lam)
            optimizer.step()
        schedule.step()
    with torch.no_grad():
        return 100 * float((model.eval()(images[test]).argmax(1) != labels[test]).float().mean())


features = nn.Sequential(block(1, 24), block(24, 24), nn.MaxPool2d(2), block(24, 48), block(48, 48))
network: nn.Module = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10))
wide = slim = netslim.count(network, images[:1])
baseline = error = train(network)
for number in range(1, 6):
    train(network, LAMBDA)
    result = netslim.prune(network, images[:1], percent=PERCENT)
    new_error = train(result.model)
    print(f"pass {number}: {result.after.params:,} parameters, {new_error:.2f} % error")
    if new_error > baseline + ALLOWED_RISE:
        break
    network, slim, error = result.model, result.after, new_error

print(f"wide: {wide.params:,} parameters, {wide.flops:,} FLOPs, {baseline:.2f} % error")
print(f"slim: {slim.params:,} parameters, {slim.flops:,} FLOPs, {error:.2f} % error")
