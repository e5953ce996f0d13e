/** What the action of igvm_sign runs: it reads a private key that the build names, and opens no socket. */
import { SIGN_COMMANDS } from './commands/sign-table.ts';
import { main } from './cvm.ts';

await main('cvm-sign', 'The part of cvm that signs in build actions.', SIGN_COMMANDS);
