import { describe, expect, test } from 'vitest';
import { digestBytes } from '../../../tools/bytes/digest.ts';
import { bytesToHex, hexToBytes } from '../../../tools/bytes/hex.ts';
import { sourceFromBytes } from '../../../tools/bytes/source.ts';
import { DEFAULT_VM_CONFIG, type VmConfig } from '../../../tools/dstack/vm-config.ts';
import { tdxGuest } from '../../../tools/dstack/tdx-guest.ts';
import type { OvmfVariant } from '../../../tools/dstack/ovmf-variant.ts';
import { prepareTdxImage } from '../../../tools/tdx/image.ts';
import { firmwareEvents, EMPTY_CFV_SHA384, acpiDigests } from '../../../tools/tdx/firmware-events.ts';
import { replayEvents } from '../../../tools/tdx/register.ts';
import { authenticodeSha384 } from '../../../tools/tdx/authenticode.ts';
import { cmdlineEvent, loadOptionsEvent, rtmr1Events } from '../../../tools/tdx/kernel-events.ts';
import { loadKernel } from '../../../tools/tdx/kernel-header.ts';
import { runtimeDigest } from '../../../tools/tdx/runtime-events.ts';
import { tdHob, tdHobWitness } from '../../../tools/tdx/td-hob.ts';
import { parseTdvf } from '../../../tools/tdx/tdvf.ts';
import { acpiTables } from '../../../tools/tdx/acpi/tables.ts';
import { linkTables } from '../../../tools/tdx/acpi/loader.ts';
import { CMDLINE, initrdI, kernelK, STANDARD_SECTIONS, tdvf1, tdvfFirmware } from '../../support/dstack.ts';

const GIB = 2 ** 30;
const sha384 = (bytes: Uint8Array): string => bytesToHex(digestBytes('sha384', bytes));
const standard = parseTdvf(tdvfFirmware(STANDARD_SECTIONS));

const config = (change: Partial<VmConfig>): VmConfig => ({
  ...DEFAULT_VM_CONFIG,
  hostShareMode: '9p',
  qemuVersion: '8.2.2',
  cpuCount: 2,
  memorySize: 2 * GIB,
  ...change,
});

/** RTMR0 of the standard sections and the empty variable store of dstack's firmware. */
function rtmr0(change: Partial<VmConfig>, variant: OvmfVariant = 'pre202505'): string | undefined {
  const { shape, layout } = tdxGuest(config(change), variant, false);
  const { blob, tables } = acpiTables(shape);
  const register = replayEvents(
    firmwareEvents({
      layout,
      tdHob: tdHob(standard, shape.memoryBytes),
      cfvDigest: hexToBytes(EMPTY_CFV_SHA384),
      acpi: acpiDigests(linkTables(blob, tables)),
      memoryBytes: shape.memoryBytes,
    }),
  );
  return register === undefined ? undefined : bytesToHex(register);
}

describe('RTMR0 from the shape of a VM', () => {
  test.each<[string, Partial<VmConfig>, OvmfVariant, string]>([
    [
      'released with 0.5.5',
      { cpuCount: 1 },
      'pre202505',
      '68102e7b524af310f7b7d426ce75481e36c40f5d513a9009c046e9d37e31551f0134d954b496a3357fd61d03f07ffe96',
    ],
    [
      'hardware: a quote of 2 vCPUs, 2 GiB',
      {},
      'pre202505',
      'f8438db36b96f85d8752ff7f24a89ec05c79ec9eda2ba732c897fb970ca429365b7471b1c054cb84f17b1c2b23ba6640',
    ],
    [
      'hardware: 2 vCPUs, 8 GiB',
      { memorySize: 8 * GIB },
      'pre202505',
      '5bba6288696c9369311fe673001f386b8494ad8d9fbb918b8571eaf73ededa420c2e51f4fe3118556f8afbc1412ff1b6',
    ],
    [
      'published: 16 vCPUs, 32 GiB',
      { cpuCount: 16, memorySize: 32 * GIB },
      'pre202505',
      'd6118f0eeb30e9d9178d2b9106dddd002d979b6fa79bdec415051afae2021384c29a32d2f6454fa369617598378ffb5e',
    ],
    [
      '17 events at 2 GiB',
      { cpuCount: 1 },
      'stable202505',
      'd357b91a5bc628259815c1406eb326a9f6ccec782a7a585390885d5c5b7ef02b2482e55decb273cc947ce742118b875c',
    ],
  ])('%s', (_, change, variant, expected) => {
    expect(rtmr0(change, variant)).toBe(expected);
  });

  test('17 events away from 2 GiB are said to be unknown', () => {
    expect(rtmr0({ memorySize: 4 * GIB }, 'stable202505')).toBeUndefined();
  });
});

const image = prepareTdxImage({
  firmware: sourceFromBytes(tdvf1()),
  kernel: sourceFromBytes(kernelK()),
  initrd: sourceFromBytes(initrdI()),
  cmdline: CMDLINE,
});
const measured = image.measure(tdxGuest(config({ memorySize: 4 * GIB }), 'pre202505', false));

describe('the whole bundle', () => {
  test('MRTD', () => {
    expect(bytesToHex(measured.mrtd)).toBe(
      '595e669a17cebd538908ae1972cb87c49022db5411eb395dbf604b708d80d6efbea0ae71c78001c91ab8dc276f14f076',
    );
  });
  test('RTMR0, with the variable store that dstack-mr assumes', () => {
    const guest = { ...tdxGuest(config({ memorySize: 4 * GIB }), 'pre202505', false), assumesEmptyCfv: true };
    expect(bytesToHex(image.measure(guest).rtmr0 ?? new Uint8Array())).toBe(
      'd5ce59e0317d3b721fb785b95240e9eb69b7500cc5ba3bc3942aa1a720d51e05e831ba6f53d4486d70e91070cbde903e',
    );
  });
  test('RTMR1, RTMR2', () => {
    expect(bytesToHex(measured.rtmr1)).toBe(
      '526156aa03903990c8788534b105277634d57e57dd726e725c9e43112e074f86d136c0b6f0af062a5beca9c8a12fc2e4',
    );
    expect(bytesToHex(measured.rtmr2)).toBe(
      'f4261a73f885ce29467de8b9bafb2abe2c18682080ab7c4bed75c45cd2709bb20cb47a79bceb2682709c56e0943dfce2',
    );
  });
});

test('the variable store is hashed from the firmware', () => {
  const cfv = measured.events.rtmr0[1];
  expect(cfv).toMatchObject({
    name: 'cfv_image',
    digest: digestBytes('sha384', tdvf1().subarray(0, 0x4000)),
  });
  expect(measured.notes.join()).toContain('variable store');
});

/** An empty variable store of edk2: volume, variables, the work area of fault-tolerant writes; the rest is erased flash. */
function emptyVariableStore(): Uint8Array {
  const hex = (text: string): Uint8Array => hexToBytes(text.replaceAll(' ', ''));
  const store = new Uint8Array(0x84000).fill(0xff);
  store.fill(0, 0, 16);
  store.set(
    hex('8d2bf1ff96768b4ca9852747075b4f50 0040080000000000 5f465648 fffe0400 4800 afb8 0000 00 02'),
    16,
  );
  store.set(hex('84000000 00100000 0000000000000000'), 0x38);
  store.set(hex('782cf3aa7b949a43a1802e144ec37792 b8ff0300 5a fe 0000 00000000'), 0x48);
  store.set(hex('2b29589e687c7d49a0ce6500fd9f1b95 2caf2c64feffffff e00f000000000000'), 0x41000);
  return store;
}

test('the empty variable store of dstack images has the digest that is known of it', () => {
  expect(sha384(emptyVariableStore())).toBe(EMPTY_CFV_SHA384);
  expect(EMPTY_CFV_SHA384).toBe(
    '344bc51c980ba621aaa00da3ed7436f7d6e549197dfe699515dfa2c6583d95e6412af21c097d473155875ffd561d6790',
  );
});

test('witness and HOB', () => {
  expect(bytesToHex(tdHobWitness(standard))).toBe('80100904000609020b021010');
  expect(sha384(tdHob(parseTdvf(tdvf1()), 2 * GIB))).toBe(
    'a976a1875f45615016a4aa17fbc555434526ca03baa58ce21eb220aefe91919807892d65a2adb016156c529858111b20',
  );
});

// Observed by OVMF (oasisprotocol/cli), the last by dstack's fixtures.
test.each<[number, string]>([
  [1024, '1055c9b9a1fc534e688560e2304e18c8597b7261818cf61fb163d40c130547309b750575947a4dcaedbdce4b8d0535f2'],
  [2048, '0b8772e5b0b41b83e6044a68397e02f49fb47066b4fbe4917ea2c45c64f323fdacbb37948f821ebaf8bc9c938ba8a749'],
  [2560, 'e05c12e2a65d57b3ff1f70abd2ae689c7e9096558dc28122befbcecad4a9d6d4569652e5c0298ee381bee5febeecbaa6'],
  [2816, '8eb1a02074362aa0761541cdb4dc3f1788dfeb4538803b241477848e26de294dbe917ab56c5628732679b3abc168c2de'],
  [4096, '5b684faf8d02a733945f821d9cdd170802e72103977acf66949c9382500283adc90cbec57f8e7653f8bee1cab83689de'],
  [65536, '8ae1e425351df7992c444586eff99d35af3b779aa2b0e981cb4b73bc5b279f2ade19b6a62a203fc3c3bbdaae80af596d'],
])('H(TD HOB) of the standard sections, %i MiB', (mib, expected) => {
  expect(sha384(tdHob(standard, mib * 2 ** 20))).toBe(expected);
});

describe('the kernel', () => {
  const kernel = sourceFromBytes(kernelK());
  const initrdBytes = initrdI().length;
  test('as in the file', () => {
    expect(bytesToHex(authenticodeSha384(kernel))).toBe(
      '9247140e0edf17ab5f658cd2ede8ace41872d0d0af0cadc0ad1c4b42d5ac3b1c3114f53398c2b213e055fd1198b2015f',
    );
  });
  test.each<[number, number, string]>([
    [
      1024,
      0x3ffb9000,
      '99c9bc87a12440eea5c8ca2db75a46ce1e6026f2cd78ea930815e6226c569dff6a6f308c666b011e9e6ae877f8fbacca',
    ],
    [
      2048,
      0x7ffb9000,
      '3e854841bbe927345df946aea8db0d36246d1542dc44379727876af4a02cf9bf8d78834329885551ee080ec1be0ad87f',
    ],
    [
      2816,
      0x7ffb9000,
      '3e854841bbe927345df946aea8db0d36246d1542dc44379727876af4a02cf9bf8d78834329885551ee080ec1be0ad87f',
    ],
    [
      4096,
      0x7ffb9000,
      '3e854841bbe927345df946aea8db0d36246d1542dc44379727876af4a02cf9bf8d78834329885551ee080ec1be0ad87f',
    ],
  ])('as QEMU hands it over, %i MiB', (mib, address, expected) => {
    const { initrdAddress, patched } = loadKernel(kernel, initrdBytes, mib * 2 ** 20);
    expect(initrdAddress).toBe(address);
    expect(bytesToHex(authenticodeSha384(patched))).toBe(expected);
  });
  test('the header itself is not changed', () => {
    const bytes = kernelK();
    loadKernel(sourceFromBytes(bytes), 1000, GIB);
    expect(bytes).toEqual(kernelK());
  });
});

test.each<[string, string]>([
  ['', '1dd6f7b457ad880d840d41c961283bab688e94e4b59359ea45686581e90feccea3c624b1226113f824f315eb60ae0a7c'],
  [
    'foo bar',
    'ae062a0d46d7899081d8068d40d5035c134c77f789c7f894c4b5d92297731bbe53b41b7868edb686ba85757a9e12c5bf',
  ],
])('load options %j (oasisprotocol/cli)', (text, expected) => {
  expect(bytesToHex(loadOptionsEvent(text).digest)).toBe(expected);
});

test('the event of the command line', () => {
  expect(bytesToHex(cmdlineEvent(CMDLINE).digest)).toBe(
    '1d0fc20939845fc3e34e6849d74c226486c27d6df75c55a421eff0f827cd22a4af08eeb4ae2ffefe091944fa7c5aaa45',
  );
});

describe('constants of every dstack image', () => {
  const layout13 = firmwareEvents({
    layout: 13,
    tdHob: new Uint8Array(),
    cfvDigest: new Uint8Array(48),
    acpi: undefined,
    memoryBytes: 2 ** 31,
  });
  const layout17 = firmwareEvents({
    layout: 17,
    tdHob: new Uint8Array(),
    cfvDigest: new Uint8Array(48),
    acpi: undefined,
    memoryBytes: 2 ** 31,
  });
  const shown = (events: typeof layout13): Record<string, string> =>
    Object.fromEntries(
      events.map(({ name, digest }) => [name, digest === undefined ? '' : bytesToHex(digest)]),
    );

  test('13 events', () => {
    expect(layout13).toHaveLength(13);
    expect(shown(layout13)).toMatchObject({
      'efi:SecureBoot':
        '9dc3a1f80bcec915391dcda5ffbb15e7419f77eab462bbf72b42166fb70d50325e37b36f93537a863769bcf9bedae6fb',
      'efi:PK':
        '6f2e3cbc14f9def86980f5f66fd85e99d63e69a73014ed8a5633ce56eca5b64b692108c56110e22acadcef58c3250f1b',
      'efi:KEK':
        'd607c0efb41c0d757d69bca0615c3a9ac0b1db06c557d992e906c6b7dee40e0e031640c7bfd7bcd35844ef9edeadc6f9',
      'efi:db':
        '08a74f8963b337acb6c93682f934496373679dd26af1089cb4eaf0c30cf260a12e814856385ab8843e56a9acea19e127',
      'efi:dbx':
        '18cc6e01f0c6ea99aa23f8a280423e94ad81d96d0aeb5180504fc0f7a40cb3619dd39bd6a95ec1680a86ed6ab0f9828d',
      separator:
        '394341b7182cd227c5c6b07ef8000cdfd86136c4292b8e576573ad7ed9ae41019f5818b4b971c9effc60e1ad9f1289f0',
      boot_order:
        '1dd6f7b457ad880d840d41c961283bab688e94e4b59359ea45686581e90feccea3c624b1226113f824f315eb60ae0a7c',
      Boot0000:
        '23ada07f5261f12f34a0bd8e46760962d6b4d576a416f1fea1c64bc656b1d28eacf7047ae6e967c58fd2a98bfa74c298',
    });
  });

  test('17 events', () => {
    expect(layout17).toHaveLength(17);
    expect(shown(layout17)).toMatchObject({
      'fw_cfg:BootMenu':
        '1dd6f7b457ad880d840d41c961283bab688e94e4b59359ea45686581e90feccea3c624b1226113f824f315eb60ae0a7c',
      'fw_cfg:bootorder':
        '53d3dbc00691328371e74c1b1c77bdf1bf4ff79dd1b55222b694fe8341cd8b0adb3a9ab9286552c681272883b9b0fc1d',
      smbios:
        'fb66919801f1dfc9c4c273b6a739380790cb0fd3cb706a42f6ac050510ebc8618e7fba53a1564522f5c6f0dc9e1f41a6',
      boot_order:
        '52b9a02de946b947364b57d8210c63113b9058996e2a3ba7cead54af11ae0873b085d1e52bc01e4febe57ca05ca1332b',
      Boot0000:
        '5068e6a9ded2a1c3a8ebb5d26004410ea8670742d8f444c5c3d161b76c66fa23a7b1d2fb3f9840570b675384b5818f2d',
      Boot0001:
        'dd424f2eeb35f3e8a2c2f50f6cc87ff90b7577e92ce63e13a22869d07d104fd5ea9800e6e4f12c5058fc4eaa78374f20',
    });
  });

  test('RTMR1', () => {
    expect(
      rtmr1Events(new Uint8Array(48), '')
        .map(({ digest }) => bytesToHex(digest))
        .slice(1),
    ).toEqual([
      '77a0dab2312b4e1e57a84d865a21e5b2ee8d677a21012ada819d0a98988078d3d740f6346bfe0abaa938ca20439a8d71',
      '394341b7182cd227c5c6b07ef8000cdfd86136c4292b8e576573ad7ed9ae41019f5818b4b971c9effc60e1ad9f1289f0',
      '214b0bef1379756011344877743fdc2a5382bac6e70362d624ccf3f654407c1b4badf7d8f9295dd3dabdef65b27677e0',
      '0a2e01c85deae718a530ad8c6d20a84009babe6c8989269e950d8cf440c6e997695e64d455c4174a652cd080f6230b74',
    ]);
  });

  test('RTMR3, both versions', () => {
    const payload = hexToBytes('3763bc34552cf3a27ff71ad5f7a90471562a1a2df552dfc1998cba2d60da27e7');
    expect(bytesToHex(runtimeDigest({ name: 'compose-hash', payload, version: 1 }))).toBe(
      'b883bee0b216618b1ce0e7a1bb4a9379b486cef8aadf0c682cb6e80c083f7982dbf104183c24a74693d860f4ffc8b72f',
    );
    expect(bytesToHex(runtimeDigest({ name: 'compose-hash', payload: hexToBytes('abcd'), version: 2 }))).toBe(
      '9dde1673f544faa94b921825209593ddde08d0baf9cd6990175dffaf3081f1bb10311d56de189491feb33842a050ad7b',
    );
  });
});
