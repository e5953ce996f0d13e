"""One call makes an environment: all targets of a GuestOS image, normal or recovery."""

load("@cvm_pins//:pins.bzl", "PINS")
load(
    "//rules:defs.bzl",
    "cvm_boot_args",
    "cvm_boot_files",
    "cvm_boot_partition",
    "cvm_command",
    "cvm_launch_measurements",
    "cvm_not_for_production",
    "cvm_proposal",
    "cvm_proposal_payload",
    "cvm_root_partition",
    "cvm_sha256",
    "cvm_update_image",
    "cvm_validation",
)

# What direct boot measures, and what the host's tools read.
_BOOT_FILES = ["boot_args", "initrd.img", "vmlinuz", "OVMF_SEV.fd"]

def icos_build(
        name,
        build_alternative_guestos_image = False,
        mode = "prod",
        root_tree = "//ic-os/guestos/rootfs:tree",
        version_file = "//ic-os:version.txt",
        boot_tree = None,
        boot_args_template = None,
        chip_ids = [],
        tags = [],
        visibility = ["//visibility:public"]):
    """Declares the targets of one GuestOS environment.

    Makes `update-img`, `update-img.tar.zst`, `update-img.tar.zst.sha256`, `partition-boot.tzst`,
    `partition-root.tzst`, `partition-root-hash`, `launch-measurements.json`, `proposal-payload.json`,
    `verdict.json`, `boot_args`, `extracted_boot_args`, `extracted_initrd.img`, `extracted_vmlinuz`,
    `extracted_OVMF_SEV.fd`, and a filegroup called `name`.

    Args:
      name: the environment's name
      build_alternative_guestos_image: make a recovery image: the boot partition of the pinned base release with
        the pinned proposal, and a new root partition. The package's pins.lock.json says what is pinned.
      mode: `dev` measures launches with 16 and with 64 vCPUs, `prod` with 64
      root_tree: the `cvm_tree` of the root partition
      version_file: the version of this build, one line
      boot_tree: a `cvm_tree` whose /boot becomes the boot partition, labelled by its file_contexts; a recovery image
        has its base's
      boot_args_template: kernel command lines with ROOT_HASH, unless they come from the base
      chip_ids: chips that the proposal must name, 128 hex digits each
      tags: for every target
      visibility: of every target
    """
    common = dict(tags = tags, visibility = visibility)
    vcpus = [16, 64] if mode == "dev" else [64]

    cvm_root_partition(
        name = "partition-root.tzst",
        add = {version_file: "/opt/ic/share/version.txt:0644"},
        tree = root_tree,
        **common
    )
    native.filegroup(
        name = "partition-root-hash",
        srcs = ["partition-root.tzst"],
        output_group = "root_hash",
        **common
    )

    if build_alternative_guestos_image:
        if boot_tree or boot_args_template:
            fail("icos_build: a recovery image takes its boot tree and boot_args from the base release")
        network, measured, measured_size = _recovery_boot_partition(name, vcpus, common)
    else:
        if not boot_tree or not boot_args_template:
            fail("icos_build: boot_tree and boot_args_template are needed, unless build_alternative_guestos_image is set")

        # A release of its own needs no blessing; only `dev` is built here.
        network = "dev"
        measured = "partition-boot.tzst"
        measured_size = ""
        cvm_boot_args(
            name = "boot_args",
            root_partition = "partition-root.tzst",
            template = boot_args_template,
            **common
        )
        cvm_boot_partition(
            name = "partition-boot.tzst",
            add = {
                "boot_args": "/boot_args:0644",
                version_file: "/version.txt:0644",
            },
            label_files = True,
            subtree = "boot",
            tree = boot_tree,
            **common
        )

    cvm_launch_measurements(
        name = "launch-measurements.json",
        boot = measured,
        image_size_bytes = measured_size,
        vcpus = vcpus,
        **common
    )
    cvm_proposal_payload(
        name = "proposal-payload.json",
        chip_ids = chip_ids,
        measurements = "launch-measurements.json",
        root_partition = "partition-root.tzst",
        **common
    )

    cvm_boot_files(
        name = "extracted",
        image = "partition-boot.tzst",
        **common
    )
    for file in _BOOT_FILES:
        native.filegroup(
            name = "extracted_" + file,
            srcs = ["extracted"],
            output_group = file,
            **common
        )

    cvm_update_image(
        name = "update-img.tar.zst",
        boot_partition = "partition-boot.tzst",
        chip_ids = chip_ids,
        network = network or "mainnet",
        proposal = "proposal" if build_alternative_guestos_image else None,
        root_partition = "partition-root.tzst",
        vcpus = vcpus,
        verdict_name = "" if build_alternative_guestos_image else "verdict.json",
        version_file = version_file,
        **common
    )
    cvm_sha256(
        name = "update-img.tar.zst.sha256",
        file = "update-img.tar.zst",
        **common
    )
    if build_alternative_guestos_image:
        cvm_validation(
            name = "verdict.json",
            chip_ids = chip_ids,
            measurements = "launch-measurements.json",
            proposal = "proposal",
            root_partition = "partition-root.tzst",
            **common
        )
    else:
        native.filegroup(
            name = "verdict.json",
            srcs = ["update-img.tar.zst"],
            output_group = "verdict",
            **common
        )

    image = ["update-img.tar.zst"]
    if network == "dev":
        cvm_not_for_production(
            name = "update-img.NOT-FOR-PRODUCTION.txt",
            image = "update-img.tar.zst",
            **common
        )
        image.append("update-img.NOT-FOR-PRODUCTION.txt")
    native.filegroup(
        name = "update-img",
        srcs = image,
        **common
    )
    native.filegroup(
        name = name,
        srcs = image + [
            "boot_args",
            "launch-measurements.json",
            "partition-boot.tzst",
            "partition-root-hash",
            "partition-root.tzst",
            "proposal-payload.json",
            "update-img.tar.zst.sha256",
            "verdict.json",
        ],
        **common
    )

def _recovery_boot_partition(name, vcpus, common):
    """Declares the boot side of a recovery image; gives its network, what is to be measured, and its size."""
    package = native.package_name()
    pins = PINS.get(package)
    if pins == None:
        fail("icos_build(name = %r): no lock is declared for //%s: add cvm.pins(lock = \"//%s:pins.lock.json\") to " % (name, package, package) +
             "MODULE.bazel and the same label to cvm_pins in WORKSPACE.bazel")
    hub = "@cvm_pins//" + package
    if pins["files"]:
        native.exports_files(pins["files"])

    cvm_boot_files(
        name = "base-boot",
        image = hub + ":base",
        image_size_bytes = str(pins["base_size"] or ""),
        version = pins["base_commit"] or "",
        **common
    )
    native.filegroup(
        name = "boot_args",
        srcs = ["base-boot"],
        output_group = "boot_args",
        **common
    )
    cvm_proposal(
        name = "proposal",
        certified_time_ns = pins["certified_time_ns"] or "",
        files = hub + ":proposal",
        network = pins["network"] or "mainnet",
        proposal_id = pins["proposal_id"] or "",
        request_sha256 = pins["request_sha256"] or "",
        sha256 = pins["proposal_sha256"] or "",
        **common
    )
    cvm_boot_partition(
        name = "partition-boot.tzst",
        proposal = "proposal",
        tree = "base-boot",
        **common
    )
    cvm_command(
        name = "pin",
        arguments = [
            "lock",
            "pin",
            "--workspace",
            "%workspace%/",
            "--package",
            package,
            "--vcpus",
            ",".join([str(count) for count in vcpus]),
        ],
        **common
    )
    cvm_command(
        name = "download-proposal",
        arguments = [
            "proposal",
            "download",
            "--output-dir",
            "%workspace%/" + package,
            "--network",
            pins["network"] or "mainnet",
        ],
        **common
    )

    # Before the vote there is no boot partition yet; the base's own is what the proposal is to name.
    if pins["proposal"]:
        return pins["network"], "partition-boot.tzst", ""
    return pins["network"], hub + ":base", str(pins["base_size"] or "")
