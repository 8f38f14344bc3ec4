"""A bundle: the folder with one slim model and all that is needed to check and use it.

    model.onnx            float32 images [batch, C, H, W], normalised, to logits [batch, classes]
    model.preproc.onnx    uint8 images [batch, height, width, C] of any size to probabilities
    model.int8.onnx       model.onnx in int8; only where its error stays within bounds
    labels.txt            one class per line; line k, counted from 0, is logit k
    signature.json        names, types and shapes of inputs and outputs, and the preprocessing
    slimming.json         the channels that each layer keeps, the pruning plan, and its digest
    samples.safetensors   a few images, the network's input for them, and the logits from PyTorch
    metrics.json          sizes and errors, of this pass and of the wide network
    latency.json          milliseconds, and the machine that they were measured on
    README.md             the model card
    SHA256SUMS            checksums of all the others, written last: if it exists, the bundle is complete

Two steps of the pipeline make a bundle: export_onnx writes what follows from the network (`contents`,
`preprocessing`, `quantization`), evaluate adds what is measured (`assemble`). Using a bundle needs numpy and
onnxruntime, `verify` also onnx and safetensors. Only making a bundle needs torch.
"""
