"""The root hash of the partition that a rule names."""

load("//rules:providers.bzl", "CvmPartitionInfo")

def root_hash_of(ctx):
    """The file with the root hash of the attribute `root_partition`.

    Args:
      ctx: the rule context

    Returns:
      File
    """
    root_hash = ctx.attr.root_partition[CvmPartitionInfo].root_hash
    if root_hash == None:
        fail("%s: root_partition must be a root partition" % ctx.label)
    return root_hash
