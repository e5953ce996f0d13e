"""The WORKSPACE door."""

load("//rules/private:pins.bzl", "pins_repository")
load("//rules/private:toolchain_repositories.bzl", "toolchain_repositories")

def cvm_repositories():
    """Declares what the tools are built from and run on. Then register `@rules_cvm//rules/toolchain:all`."""
    toolchain_repositories()

def cvm_pins(locks, name = "cvm_pins"):
    """Makes what lock files pin available as `@<name>//<package>:base` and `:proposal`.

    Then load `pinned_files` from `@<name>//:downloads.bzl` and call it.

    Args:
      locks: labels of pins.lock.json files, which need not exist yet
      name: the repository's name
    """
    pins_repository(name = name, locks = locks)
