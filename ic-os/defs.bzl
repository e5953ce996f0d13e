"""`icos_build` with what this repository's environments share: the root tree, the version, the pins."""

load("@rules_cvm_pins//:pins.bzl", "PINS")
load("//rules:defs.bzl", _icos_build = "icos_build")

def icos_build(name, root_tree = "//ic-os/guestos/rootfs:tree", version_file = "//ic-os:version.txt", **kwargs):
    """Declares the targets of one GuestOS environment of this repository.

    Args:
      name: the environment's name
      root_tree: the `cvm_tree` of the root partition
      version_file: the version of this build, one line
      **kwargs: as `icos_build` of rules/defs.bzl takes them
    """
    _icos_build(
        name = name,
        pins = PINS,
        root_tree = root_tree,
        version_file = version_file,
        **kwargs
    )
