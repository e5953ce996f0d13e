"""One call makes an environment: all targets of a GuestOS image, normal or recovery."""

load(":boot_args.bzl", "cvm_boot_args")
load(":boot_files.bzl", "cvm_boot_files")
load(":command.bzl", "cvm_command")
load(":measurements.bzl", "cvm_launch_measurements")
load(":partition.bzl", "cvm_boot_partition", "cvm_root_partition")
load(":pins.bzl", "pins_key")
load(":proposal.bzl", "cvm_proposal", "cvm_proposal_payload")
load(":records.bzl", "cvm_not_for_production", "cvm_sha256", "cvm_version")
load(":release.bzl", "cvm_release")
load(":report.bzl", "cvm_report")
load(":update_image.bzl", "cvm_disk_image", "cvm_update_image")
load(":validation.bzl", "cvm_validation")

# What direct boot measures, and what the host's tools read.
_BOOT_FILES = ["boot_args", "initrd.img", "vmlinuz", "OVMF_SEV.fd"]

def icos_build(
        name,
        root_tree,
        version_file,
        build_alternative_guestos_image = False,
        pins = None,
        mode = "prod",
        boot_tree = None,
        boot_args_template = None,
        chip_ids = [],
        dev_proposal = None,
        dev_proposal_ids = [],
        tags = [],
        visibility = ["//visibility:public"]):
    """Declares the targets of one GuestOS environment.

    Makes `update-img`, `update-img.tar.zst`, `update-img.tar.zst.sha256`, the same for `disk-img`, `update-img.report.html`, `partition-boot.tzst`,
    `partition-root.tzst`, `partition-root-hash`, `launch-measurements.json`, `proposal-payload.json`,
    `verdict.json`, `boot_args`, `extracted_boot_args`, `extracted_initrd.img`, `extracted_vmlinuz`,
    `extracted_OVMF_SEV.fd`, and a filegroup called `name`. On the `dev` network all of it once more with `-test` behind
    its stem, from a root partition whose version says so. A recovery environment also has `pin`, `download-proposal` and
    `payload` to run; `release`, which the gate refuses unless the lock pins mainnet, and which is therefore `manual`; and
    `release.publish` and `release.verify` to run.

    Args:
      name: the environment's name
      root_tree: the `cvm_tree` of the root partition
      version_file: the version of this build, one line
      build_alternative_guestos_image: make a recovery image: the boot partition of the pinned base release with
        the pinned proposal, and a new root partition. The package's pins.lock.json says what is pinned.
      pins: `PINS` of the hub's `pins.bzl`, for a recovery image: `load("@cvm_pins//:pins.bzl", "PINS")`
      mode: `dev` measures launches with 16 and with 64 vCPUs, `prod` with 64
      boot_tree: a `cvm_tree` whose /boot becomes the boot partition, labelled by its file_contexts; a recovery image
        has its base's
      boot_args_template: kernel command lines with ROOT_HASH, unless they come from the base
      chip_ids: chips that the proposal must name, 128 hex digits each
      dev_proposal: the macro or rule that signs proposals of the `dev` network while building (name, proposal_id,
        measurements, root_partition); without it a recovery environment has no `dev-proposal` and no `-test` twins
      dev_proposal_ids: ids of `dev-proposal` and `dev-proposal-test`
      tags: for every target
      visibility: of every target
    """
    common = dict(tags = tags, visibility = visibility)
    vcpus = [16, 64] if mode == "dev" else [64]
    if build_alternative_guestos_image:
        if boot_tree or boot_args_template:
            fail("icos_build: a recovery image takes its boot tree and boot_args from the base release")
        pinned = _pinned(name, pins)
        _base(pinned, vcpus, common)
        base = struct(
            image = pinned["base_image"],
            size_bytes = str(pinned["base_size"] or ""),
            is_voted = pinned["proposal"],
            # A missing lock fails the targets that need it, when they are built.
            lock = (native.glob(["pins.lock.json"], allow_empty = True) or [None])[0],
        )
        _release(base, chip_ids, common, vcpus)
        network = pinned["network"]
        has_twins = network == "dev" and dev_proposal != None
        if has_twins:
            # Blesses whatever base is pinned, as a vote on it would.
            cvm_launch_measurements(
                name = "base-launch-measurements.json",
                boot = base.image,
                image_size_bytes = base.size_bytes,
                vcpus = [16, 64],
                **common
            )
            for suffix, proposal_id in zip(["", "-test"], dev_proposal_ids):
                dev_proposal(
                    name = "dev-proposal" + suffix,
                    measurements = "base-launch-measurements.json",
                    proposal_id = proposal_id,
                    root_partition = "partition-root%s.tzst" % suffix,
                    **common
                )
    else:
        if not boot_tree or not boot_args_template:
            fail("icos_build: boot_tree and boot_args_template are needed, unless build_alternative_guestos_image is set")

        # A release of its own needs no blessing; only `dev` is built here.
        base = None
        network = "dev"
        has_twins = True

    for suffix in ["", "-test"] if has_twins else [""]:
        _images(
            name = name,
            base = base,
            boot_args_template = boot_args_template,
            boot_tree = boot_tree,
            chip_ids = chip_ids,
            common = common,
            network = network,
            root_tree = root_tree,
            suffix = suffix,
            vcpus = vcpus,
            version_file = version_file,
        )

def _pinned(name, pins):
    """Gives what the lock of this package pins."""
    package = native.package_name()
    lock = "//%s:pins.lock.json" % package
    if pins == None:
        fail("icos_build(name = %r): a recovery image needs pins: load(\"@cvm_pins//:pins.bzl\", \"PINS\") and give pins = PINS" % name)
    pinned = pins.get(pins_key(native.repo_name(), package))
    if pinned == None:
        fail("icos_build(name = %r): no lock is declared for //%s: add cvm.pins(lock = %r) to MODULE.bazel and the same label to " % (name, package, lock) +
             "cvm_pins in WORKSPACE.bazel")
    return pinned

def _base(pinned, vcpus, common):
    """Declares what a recovery environment takes from its pins, and the commands that pin."""
    package = native.package_name()
    network = pinned["network"] or "mainnet"
    if pinned["files"]:
        native.exports_files(pinned["files"])
    cvm_boot_files(
        name = "base-boot",
        image = pinned["base_image"],
        image_size_bytes = str(pinned["base_size"] or ""),
        version = pinned["base_commit"] or "",
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
        certified_time_ns = pinned["certified_time_ns"] or "",
        files = pinned["proposal_files"],
        network = network,
        proposal_id = pinned["proposal_id"] or "",
        request_sha256 = pinned["request_sha256"] or "",
        sha256 = pinned["proposal_sha256"] or "",
        **common
    )
    cvm_command(
        name = "pin",
        arguments = ["lock", "pin", "--workspace", "%workspace%/", "--package", package, "--vcpus", ",".join([str(count) for count in vcpus])],
        **common
    )
    cvm_command(
        name = "download-proposal",
        arguments = ["proposal", "download", "--output-dir", "%workspace%/" + package, "--network", network],
        **common
    )
    cvm_command(
        name = "payload",
        arguments = [
            "guestos",
            "payload",
            "--root-hash-file",
            "%runfiles%/$(rlocationpath :partition-root-hash)",
            "--measurements",
            "%runfiles%/$(rlocationpath :launch-measurements.json)",
        ],
        data = ["launch-measurements.json", "partition-root-hash"],
        **common
    )

def _release(base, chip_ids, common, vcpus):
    """Declares the release of a recovery environment, and the commands that publish and verify one."""

    # Refused by design while the lock pins dev: nothing that builds everything may ask for it.
    manual = dict(common, tags = common["tags"] + ["manual"])
    cvm_release(
        name = "release",
        base = base.image,
        chip_ids = chip_ids,
        disk_image = "disk-img.tar.zst",
        documents = ["update-img.report.html"],
        # Without a lock it fails as everything else does: with the lock's error.
        lock = base.lock or base.image,
        measurements = "launch-measurements.json",
        proposal = "proposal",
        update_image = "update-img.tar.zst",
        vcpus = vcpus,
        **manual
    )
    cvm_command(
        name = "release.publish",
        arguments = ["release", "publish", "--release", "%runfiles%/$(rlocationpath :release)"],
        data = ["release"],
        **manual
    )
    cvm_command(
        name = "release.verify",
        arguments = ["release", "verify"],
        **common
    )

def _images(name, base, boot_args_template, boot_tree, chip_ids, common, network, root_tree, suffix, vcpus, version_file):
    """Declares the images of an environment, or with a suffix those of its twin."""
    boot = "partition-boot%s.tzst" % suffix
    root = "partition-root%s.tzst" % suffix
    measurements = "launch-measurements%s.json" % suffix
    verdict = "verdict%s.json" % suffix
    proposal = None
    measured = boot
    measured_size = ""
    if suffix:
        cvm_version(
            name = "version%s.txt" % suffix,
            suffix = suffix,
            version_file = version_file,
            **common
        )
        version_file = "version%s.txt" % suffix

    cvm_root_partition(
        name = root,
        add = {version_file: "/opt/ic/share/version.txt:0644"},
        root_hash_name = "partition-root%s-hash" % suffix,
        tree = root_tree,
        **common
    )
    native.filegroup(
        name = "partition-root%s-hash" % suffix,
        srcs = [root],
        output_group = "root_hash",
        **common
    )

    if base:
        proposal = "proposal" + suffix
        if suffix:
            cvm_proposal(
                name = proposal,
                files = "dev-proposal" + suffix,
                network = network,
                **common
            )
            native.alias(
                name = "boot_args" + suffix,
                actual = "boot_args",
                **common
            )
        elif not base.is_voted:
            # Before the vote there is no boot partition yet; the base's own is what the proposal is to name.
            measured = base.image
            measured_size = base.size_bytes
        cvm_boot_partition(
            name = boot,
            proposal = proposal,
            tree = "base-boot",
            **common
        )
    else:
        cvm_boot_args(
            name = "boot_args" + suffix,
            root_partition = root,
            template = boot_args_template,
            **common
        )
        cvm_boot_partition(
            name = boot,
            add = {
                "boot_args" + suffix: "/boot_args:0644",
                version_file: "/version.txt:0644",
            },
            label_files = True,
            subtree = "boot",
            tree = boot_tree,
            **common
        )

    cvm_launch_measurements(
        name = measurements,
        boot = measured,
        image_size_bytes = measured_size,
        vcpus = vcpus,
        **common
    )
    cvm_proposal_payload(
        name = "proposal-payload%s.json" % suffix,
        chip_ids = chip_ids,
        measurements = measurements,
        root_partition = root,
        **common
    )
    cvm_boot_files(
        name = "extracted" + suffix,
        image = boot,
        **common
    )
    for file in _BOOT_FILES:
        native.filegroup(
            name = "extracted%s_%s" % (suffix, file),
            srcs = ["extracted" + suffix],
            output_group = file,
            **common
        )

    packing = dict(
        boot_partition = boot,
        chip_ids = chip_ids,
        network = network or "mainnet",
        proposal = proposal,
        root_partition = root,
        vcpus = vcpus,
        **common
    )
    update = "update-img" + suffix
    disk = "disk-img" + suffix
    cvm_update_image(
        name = update + ".tar.zst",
        verdict_name = "" if base else verdict,
        version_file = version_file,
        **packing
    )
    cvm_disk_image(
        name = disk + ".tar.zst",
        **packing
    )
    if base:
        cvm_validation(
            name = verdict,
            boot_partition = boot,
            chip_ids = chip_ids,
            measurements = measurements,
            proposal = proposal,
            root_partition = root,
            vcpus = vcpus,
            **common
        )
    else:
        native.filegroup(
            name = verdict,
            srcs = [update + ".tar.zst"],
            output_group = "verdict",
            **common
        )

    is_unvoted = base != None and not suffix and not base.is_voted
    cvm_report(
        name = update + ".report.html",
        base = base.image if base else None,
        boot_partition = None if is_unvoted else boot,
        chip_ids = chip_ids,
        lock = base.lock if base and not suffix else None,
        network = network or "mainnet",
        proposal = None if is_unvoted else proposal,
        root_partition = root,
        vcpus = vcpus,
        version_file = None if is_unvoted else version_file,
        **common
    )

    for image in [update, disk]:
        cvm_sha256(
            name = image + ".tar.zst.sha256",
            file = image + ".tar.zst",
            **common
        )
        files = [image + ".tar.zst"]
        if network == "dev":
            cvm_not_for_production(
                name = image + ".NOT-FOR-PRODUCTION.txt",
                image = update + ".tar.zst",
                **common
            )
            files.append(image + ".NOT-FOR-PRODUCTION.txt")
        native.filegroup(
            name = image,
            srcs = files,
            **common
        )
    native.filegroup(
        name = name + suffix,
        srcs = [
            "boot_args" + suffix,
            disk,
            disk + ".tar.zst.sha256",
            measurements,
            boot,
            "partition-root%s-hash" % suffix,
            root,
            "proposal-payload%s.json" % suffix,
            update,
            update + ".report.html",
            update + ".tar.zst.sha256",
            verdict,
        ],
        **common
    )
