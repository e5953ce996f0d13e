/** The whole tool: `cvm`. */
import { COMMANDS } from './commands/table.ts';
import { main } from './cvm.ts';

await main('cvm', 'Builds, blesses, measures and verifies confidential-VM images.', COMMANDS);
