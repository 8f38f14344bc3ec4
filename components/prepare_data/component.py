"""Step: fetch or read a dataset, split it as the paper does, and pack it."""

from kfp import dsl

from netslim_kfp.components.step import step


@step("data")
def prepare_data(
    dataset: dsl.Output[dsl.Dataset],
    name: str = "digits",
    root: str = "",
    download: bool = False,
    validation: int = 0,
    size: int = 0,
    title: str = "",
    seed: int = 0,
) -> None:
    """Pack a dataset: uint8 tensors, labels, channel statistics of the training part, checksums.

    Args:
        dataset: the packed dataset; for an image folder a list of the files, which stay where they are.
        name: digits, mnist, fashion-mnist, cifar10, cifar100, svhn, imagenet or folder.
        root: folder or s3:// prefix with the original files; not needed for digits.
        download: fetch the original files into `root` when they are missing.
        validation: images taken from the training set to choose by; the paper takes 5,000 of CIFAR-10.
        size: pixels to which images are scaled and cropped; 0 leaves them as they are.
        title: the dataset's name in tables, when it is not the usual one.
        seed: decides which images go to the validation split.
    """
    from netslim.steps.entrypoint import step_process
    from netslim.steps.prepare import prepare, summary
    from netslim.steps.step_log import step_log

    with step_process(), step_log("preparation of the data") as log:
        metadata = prepare(
            dataset.path,
            name=name,
            root=root,
            download=download,
            validation=int(validation),
            size=int(size),
            title=title,
            seed=int(seed),
        )
        log.outcome = summary(metadata)
    dataset.metadata.update(metadata)
