"""What the rules hand to each other. Each provider is built through its constructor, which checks the fields."""

def _check(provider, field, value, kind):
    if type(value) != kind:
        fail("%s.%s must be a %s, is a %s" % (provider, field, kind, type(value)))

def _check_network(provider, network):
    if network not in ["mainnet", "dev"]:
        fail("%s.network must be mainnet or dev, is %r" % (provider, network))

CvmTreeInfo = provider(
    doc = "A file tree.",
    fields = {"archive": "File: a deterministic tar with numeric owners, modes and xattrs"},
)

def cvm_tree_info(archive):
    """Builds a CvmTreeInfo.

    Args:
      archive: File, a tar

    Returns:
      CvmTreeInfo
    """
    _check("CvmTreeInfo", "archive", archive, "File")
    return CvmTreeInfo(archive = archive)

CvmBootInfo = provider(
    doc = "What direct boot measures, read out of a boot partition.",
    fields = {
        "boot_args": "File: the kernel command lines",
        "firmware": "File: OVMF_SEV.fd",
        "initrd": "File: initrd.img",
        "kernel": "File: vmlinuz",
    },
)

def cvm_boot_info(boot_args, firmware, initrd, kernel):
    """Builds a CvmBootInfo.

    Args:
      boot_args: File
      firmware: File
      initrd: File
      kernel: File

    Returns:
      CvmBootInfo
    """
    for field, value in [("boot_args", boot_args), ("firmware", firmware), ("initrd", initrd), ("kernel", kernel)]:
        _check("CvmBootInfo", field, value, "File")
    return CvmBootInfo(boot_args = boot_args, firmware = firmware, initrd = initrd, kernel = kernel)

CvmPartitionInfo = provider(
    doc = "A partition image in its archive.",
    fields = {
        "archive": "File: zstd of a sparse tar with the one member partition.img",
        "kind": "string: boot or root",
        "root_hash": "File or None: 64 hex digits and a newline; of root partitions only",
    },
)

def cvm_partition_info(archive, kind, root_hash = None):
    """Builds a CvmPartitionInfo.

    Args:
      archive: File
      kind: boot or root
      root_hash: File, for kind root

    Returns:
      CvmPartitionInfo
    """
    _check("CvmPartitionInfo", "archive", archive, "File")
    if kind not in ["boot", "root"]:
        fail("CvmPartitionInfo.kind must be boot or root, is %r" % kind)
    if kind == "root":
        _check("CvmPartitionInfo", "root_hash", root_hash, "File")
    elif root_hash != None:
        fail("CvmPartitionInfo.root_hash belongs to root partitions only")
    return CvmPartitionInfo(archive = archive, kind = kind, root_hash = root_hash)

CvmProposalInfo = provider(
    doc = "A proposal whose certificate was verified by a build action.",
    fields = {
        "certificate": "File: the certificate as it goes onto the boot partition",
        "facts": "File: what was verified, as JSON",
        "network": "string: mainnet or dev",
        "request": "File: the request that the certificate answers; None when it is not at hand, which the verification refuses on mainnet",
    },
)

def cvm_proposal_info(certificate, request, facts, network):
    """Builds a CvmProposalInfo.

    Args:
      certificate: File
      request: File, or None
      facts: File
      network: mainnet or dev

    Returns:
      CvmProposalInfo
    """
    for field, value in [("certificate", certificate), ("facts", facts)]:
        _check("CvmProposalInfo", field, value, "File")
    _check_network("CvmProposalInfo", network)
    if request != None:
        _check("CvmProposalInfo", "request", request, "File")
    return CvmProposalInfo(certificate = certificate, request = request, facts = facts, network = network)

CvmMeasurementsInfo = provider(
    doc = "Launch measurements.",
    fields = {"measurements": "File: launch-measurements.json"},
)

def cvm_measurements_info(measurements):
    """Builds a CvmMeasurementsInfo.

    Args:
      measurements: File

    Returns:
      CvmMeasurementsInfo
    """
    _check("CvmMeasurementsInfo", "measurements", measurements, "File")
    return CvmMeasurementsInfo(measurements = measurements)

CvmUpdateImageInfo = provider(
    doc = "An update image that passed validation while it was packed.",
    fields = {
        "image": "File: update-img.tar.zst",
        "network": "string: mainnet or dev",
    },
)

def cvm_update_image_info(image, network):
    """Builds a CvmUpdateImageInfo.

    Args:
      image: File
      network: mainnet or dev

    Returns:
      CvmUpdateImageInfo
    """
    _check("CvmUpdateImageInfo", "image", image, "File")
    _check_network("CvmUpdateImageInfo", network)
    return CvmUpdateImageInfo(image = image, network = network)

DstackBundleInfo = provider(
    doc = "A dstack image bundle.",
    fields = {
        "digest": "File: os_image_hash, 64 hex digits and a newline",
        "folder": "File: the folder with all files",
        "tarball": "File: the archive for hosts",
        "verifier_archive": "File: the archive for verifiers, mr_<digest>.tar.gz under a name of its own",
    },
)

def dstack_bundle_info(folder, tarball, verifier_archive, digest):
    """Builds a DstackBundleInfo.

    Args:
      folder: File
      tarball: File
      verifier_archive: File
      digest: File

    Returns:
      DstackBundleInfo
    """
    for field, value in [("folder", folder), ("tarball", tarball), ("verifier_archive", verifier_archive), ("digest", digest)]:
        _check("DstackBundleInfo", field, value, "File")
    return DstackBundleInfo(folder = folder, tarball = tarball, verifier_archive = verifier_archive, digest = digest)

TdxMeasurementsInfo = provider(
    doc = "TDX registers of an image in a VM.",
    fields = {
        "explain": "File: every event, as JSON",
        "registers": "File: mrtd, rtmr0, rtmr1 and rtmr2, as JSON",
    },
)

def tdx_measurements_info(registers, explain):
    """Builds a TdxMeasurementsInfo.

    Args:
      registers: File
      explain: File

    Returns:
      TdxMeasurementsInfo
    """
    for field, value in [("registers", registers), ("explain", explain)]:
        _check("TdxMeasurementsInfo", field, value, "File")
    return TdxMeasurementsInfo(registers = registers, explain = explain)
