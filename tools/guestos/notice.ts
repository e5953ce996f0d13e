import { DEV_VERSION_SUFFIX } from './layout.ts';

/** Stands beside every image of the dev network: Bazel prints it among a build's outputs. */
export const NOT_FOR_PRODUCTION_TEXT = `NOT FOR PRODUCTION

The update image beside this file belongs to the network "dev". The key that signs for that network is published with
its source code, so anyone can make a proposal that this image accepts. Its VERSION.TXT ends in "${DEV_VERSION_SUFFIX}".

A node of the Internet Computer must never be recovered with it. For production, pin a base release and an executed
proposal of the network "mainnet" and build again.
`;
