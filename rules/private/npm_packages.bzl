"""The npm packages that the tools import, for the rules that bundle or run them."""

_RUNTIME = [
    "@cvm_npm//:@dfinity/agent",
    "@cvm_npm//:@dfinity/candid",
    "@cvm_npm//:@dfinity/principal",
    "@cvm_npm//:@noble/curves",
    "@cvm_npm//:@noble/hashes",
    "@cvm_npm//:cbor-x",
    "@cvm_npm//:commander",
    "@cvm_npm//:valibot",
]

def npm_attrs(tools):
    """The attributes `_npm`, whose folder holds node_modules, and `_packages`, the files in it.

    Args:
      tools: labels of the packages that a rule runs by itself

    Returns:
      dict of attributes
    """
    return {
        "_npm": attr.label(default = "@cvm_npm//:package.json", allow_single_file = True),
        "_packages": attr.label_list(default = _RUNTIME + tools),
    }
