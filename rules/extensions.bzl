"""The bzlmod door."""

load("//rules/private:toolchain_repositories.bzl", "toolchain_repositories")

def _cvm_impl(_mctx):
    toolchain_repositories()

cvm = module_extension(
    implementation = _cvm_impl,
    doc = "Node.js, the compiler and the libraries, as package-lock.json pins them.",
)
