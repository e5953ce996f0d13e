"""The one public door of rules_cvm: `load("@rules_cvm//rules:defs.bzl", …)`."""

load("//rules:providers.bzl", _CvmBootInfo = "CvmBootInfo", _CvmMeasurementsInfo = "CvmMeasurementsInfo", _CvmPartitionInfo = "CvmPartitionInfo", _CvmProposalInfo = "CvmProposalInfo", _CvmTreeInfo = "CvmTreeInfo", _CvmUpdateImageInfo = "CvmUpdateImageInfo", _DstackBundleInfo = "DstackBundleInfo", _TdxMeasurementsInfo = "TdxMeasurementsInfo", _cvm_tree_info = "cvm_tree_info")
load("//rules/private:boot_args.bzl", _cvm_boot_args = "cvm_boot_args")
load("//rules/private:boot_files.bzl", _cvm_boot_files = "cvm_boot_files")
load("//rules/private:coconut.bzl", _coconut_igvm = "coconut_igvm")
load("//rules/private:command.bzl", _cvm_command = "cvm_command")
load("//rules/private:dstack.bzl", _dstack_image_bundle = "dstack_image_bundle", _dstack_launch_measurement = "dstack_launch_measurement")
load("//rules/private:icos_build.bzl", _icos_build = "icos_build")
load("//rules/private:igvm.bzl", _igvm_digest_test = "igvm_digest_test", _igvm_kvm_check_test = "igvm_kvm_check_test", _igvm_measurement = "igvm_measurement", _igvm_sign = "igvm_sign")
load("//rules/private:measurements.bzl", _cvm_launch_measurements = "cvm_launch_measurements")
load("//rules/private:miniature.bzl", _cvm_miniature = "cvm_miniature")
load("//rules/private:node_toolchain.bzl", _cvm_node_toolchain = "cvm_node_toolchain")
load("//rules/private:partition.bzl", _cvm_boot_partition = "cvm_boot_partition", _cvm_root_partition = "cvm_root_partition")
load("//rules/private:proposal.bzl", _cvm_proposal = "cvm_proposal", _cvm_proposal_payload = "cvm_proposal_payload")
load("//rules/private:records.bzl", _cvm_not_for_production = "cvm_not_for_production", _cvm_sha256 = "cvm_sha256", _cvm_version = "cvm_version")
load("//rules/private:release.bzl", _cvm_release = "cvm_release")
load("//rules/private:report.bzl", _cvm_report = "cvm_report")
load("//rules/private:snp.bzl", _measurement_test = "measurement_test", _snp_id_block = "snp_id_block", _snp_launch_measurements = "snp_launch_measurements")
load("//rules/private:tdx.bzl", _tdx_measurement_test = "tdx_measurement_test", _tdx_measurements = "tdx_measurements")
load("//rules/private:tree.bzl", _cvm_initrd = "cvm_initrd", _cvm_tree = "cvm_tree")
load("//rules/private:update_image.bzl", _cvm_disk_image = "cvm_disk_image", _cvm_update_image = "cvm_update_image")
load("//rules/private:validation.bzl", _cvm_validation = "cvm_validation")
load("//rules/private:vmgs.bzl", _vmgs_image = "vmgs_image", _vmgs_verify_test = "vmgs_verify_test")

# What the rules hand to each other, and to rules of yours.
CvmBootInfo = _CvmBootInfo
CvmMeasurementsInfo = _CvmMeasurementsInfo
CvmPartitionInfo = _CvmPartitionInfo
CvmProposalInfo = _CvmProposalInfo
CvmTreeInfo = _CvmTreeInfo
CvmUpdateImageInfo = _CvmUpdateImageInfo
DstackBundleInfo = _DstackBundleInfo
TdxMeasurementsInfo = _TdxMeasurementsInfo

coconut_igvm = _coconut_igvm
cvm_boot_args = _cvm_boot_args
cvm_boot_files = _cvm_boot_files
cvm_boot_partition = _cvm_boot_partition
cvm_command = _cvm_command
cvm_disk_image = _cvm_disk_image
cvm_initrd = _cvm_initrd
cvm_launch_measurements = _cvm_launch_measurements
cvm_miniature = _cvm_miniature
cvm_node_toolchain = _cvm_node_toolchain
cvm_not_for_production = _cvm_not_for_production
cvm_proposal = _cvm_proposal
cvm_proposal_payload = _cvm_proposal_payload
cvm_release = _cvm_release
cvm_report = _cvm_report
cvm_root_partition = _cvm_root_partition
cvm_sha256 = _cvm_sha256
cvm_tree = _cvm_tree
cvm_tree_info = _cvm_tree_info
cvm_update_image = _cvm_update_image
cvm_validation = _cvm_validation
cvm_version = _cvm_version
dstack_image_bundle = _dstack_image_bundle
dstack_launch_measurement = _dstack_launch_measurement
icos_build = _icos_build
igvm_digest_test = _igvm_digest_test
igvm_kvm_check_test = _igvm_kvm_check_test
igvm_measurement = _igvm_measurement
igvm_sign = _igvm_sign
measurement_test = _measurement_test
snp_id_block = _snp_id_block
snp_launch_measurements = _snp_launch_measurements
tdx_measurement_test = _tdx_measurement_test
tdx_measurements = _tdx_measurements
vmgs_image = _vmgs_image
vmgs_verify_test = _vmgs_verify_test
