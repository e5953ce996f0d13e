"""What an .npmrc says about the registry."""

load("//rules/private:node_repository.bzl", "npmrc_registry")
load(":starlark_test.bzl", "expect")

REGISTRY_CASES = [
    expect("takes the registry", npmrc_registry("registry=https://npm.example/\n"), "https://npm.example/"),
    expect("takes spaces and quotes off", npmrc_registry("  registry = \"https://npm.example\"  \r\n"), "https://npm.example"),
    expect("the last one counts", npmrc_registry("registry=https://a.example\nregistry=https://b.example"), "https://b.example"),
    expect("a scope's registry is another", npmrc_registry("@x:registry=https://a.example\n//a.example/:_authToken=x"), None),
    expect("a comment says nothing", npmrc_registry("# registry=https://a.example\n;registry=https://a.example"), None),
    expect("nothing comes of nothing", npmrc_registry(""), None),
    expect("an empty value is none", npmrc_registry("registry=\n"), None),
]
