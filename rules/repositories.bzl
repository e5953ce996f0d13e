"""The WORKSPACE door."""

load("//rules/private:toolchain_repositories.bzl", "toolchain_repositories")

def cvm_repositories():
    """Declares what the tools are built from and run on. Then register `@rules_cvm//rules/toolchain:all`."""
    toolchain_repositories()
