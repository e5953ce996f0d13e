import type { ReleaseKind } from '../../tools/release/layout.ts';

/**
 * Releases of the dev network, so that all steps can be tried: the development tool knows this kind alone, and what is
 * shipped does not know it. Its releases say in their files, in their provenance and in their bill of materials that they are none,
 * and go nowhere but to this machine.
 */
export const REHEARSAL: ReleaseKind = {
  network: 'dev',
  buildType: 'urn:rules-cvm:guestos-release-rehearsal:v1',
  notice: `NOT FOR PRODUCTION

This folder rehearses a release with images of the network "dev". The key that signs for that network is published with its
source code, so anyone can make a proposal that these images accept. It is no release, whatever its other files say.
`,
};
