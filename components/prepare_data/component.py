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
        dataset: the packed dataset; a manifest of files when it does not fit in memory.
        name: digits, mnist, fashion-mnist, cifar10, cifar100, svhn, imagenet or folder.
        root: folder or s3:// prefix that holds the original files; not needed for digits.
        download: fetch the original files into `root` when they are missing.
        validation: images split from the training set for choosing; the paper takes 5,000 of CIFAR-10.
        size: pixels to which images are scaled and cropped; 0 leaves them as they are.
        title: the dataset's honest name in tables, when it is not the usual one.
        seed: decides which images go to the validation split.
    """
    from netslim.steps.entrypoint import as_step
    from netslim.steps.prepare import prepare

    dataset.metadata.update(
        as_step(prepare)(
            dataset.path,
            name=name,
            root=root,
            download=download,
            validation=int(validation),
            size=int(size),
            title=title,
            seed=int(seed),
        )
    )
