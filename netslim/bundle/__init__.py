"""A bundle: one slim model and everything that somebody who never saw our pipeline needs to trust and use it.

    model.onnx            float32 images [batch, C, H, W], normalised, to logits [batch, classes]
    model.preproc.onnx    uint8 images [batch, height, width, C] of any size to probabilities
    model.int8.onnx       the first one in int8, only where its error stays within bounds
    labels.txt            one class per line; line k is logit k
    signature.json        names, types and shapes of inputs and outputs, and the preprocessing
    slimming.json         the channels that each layer keeps, the plan that says so, and its digest
    samples.safetensors   a few images, what the model takes for them, and the logits that PyTorch gave
    metrics.json          sizes and errors, of this pass and of the wide network
    latency.json          milliseconds, and on what they were measured
    README.md             the model card
    SHA256SUMS            of all the others, written last: a folder that has it is whole

Making one takes two steps of the pipeline (`static` in export_onnx, `complete` in evaluate). Using one takes
numpy and onnxruntime; `verify` also takes onnx and safetensors. Nothing but making it takes torch.
"""
