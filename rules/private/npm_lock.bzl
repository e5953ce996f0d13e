"""Reads package-lock.json: which packages a set of roots needs, and the part of the lock that pins them. Pure."""

def _resolve(packages, path, name):
    """Finds the entry that `require(name)` from the package at `path` reaches, as Node.js looks it up."""
    folder = path
    for _ in range(16):
        candidate = (folder + "/" if folder else "") + "node_modules/" + name
        if candidate in packages:
            return candidate
        if not folder:
            return None
        parent = folder.rfind("/node_modules/")
        folder = folder[:parent] if parent >= 0 else ""
    return None

def npm_lock_closure(packages, roots):
    """Lists the lock entries that `roots` need, directly or not.

    Args:
      packages: the `packages` object of a version 3 package-lock.json
      roots: names of packages that stand at the top of node_modules

    Returns:
      a sorted list of keys of `packages`
    """
    seen = {}
    pending = []
    for name in roots:
        path = _resolve(packages, "", name)
        if path == None:
            fail("package-lock.json does not pin %s: add it to package.json and run npm install" % name)
        pending.append(path)
    for _ in range(len(packages) + 1):
        if not pending:
            break
        following = []
        for path in pending:
            if path in seen:
                continue
            seen[path] = True
            entry = packages[path]
            for field in ["dependencies", "optionalDependencies", "peerDependencies"]:
                for name in entry.get(field, {}):
                    needed = _resolve(packages, path, name)
                    if needed != None and needed not in seen:
                        following.append(needed)
        pending = following
    return sorted(seen.keys())

def npm_lock_subset(lock, roots, optional = False):
    """Cuts a lock down to what `roots` need, integrity hashes included.

    Args:
      lock: a decoded version 3 package-lock.json
      roots: names of packages that stand at the top of node_modules
      optional: ask for the roots as optional dependencies: npm's --os and --cpu hold only for those

    Returns:
      struct(package_json, package_lock): two JSON texts for `npm ci`
    """
    if lock.get("lockfileVersion") != 3:
        fail("package-lock.json has lockfileVersion %s, 3 is needed: run npm install with npm 9 or newer" % lock.get("lockfileVersion"))
    packages = lock["packages"]
    kept = {}
    for path in npm_lock_closure(packages, roots):
        entry = packages[path]
        if not entry.get("integrity", "").startswith("sha512-"):
            fail("package-lock.json pins %s without a sha512 integrity: run npm install again" % path)

        # A package that is a root here is wanted, whatever it was in the whole tree.
        dropped = ["dev", "devOptional", "peer"] + (["optional"] if path[len("node_modules/"):] in roots else [])
        kept[path] = {key: value for key, value in entry.items() if key not in dropped}
        if optional:
            kept[path]["optional"] = True
    versions = {name: packages["node_modules/" + name]["version"] for name in sorted(roots)}
    root = {"name": "cvm-packages", "version": "0.0.0", ("optionalDependencies" if optional else "dependencies"): versions}
    return struct(
        package_json = json.encode_indent(dict(root, private = True), indent = "  "),
        package_lock = json.encode_indent({
            "name": root["name"],
            "version": root["version"],
            "lockfileVersion": 3,
            "requires": True,
            "packages": dict([("", root)] + kept.items()),
        }, indent = "  "),
    )
