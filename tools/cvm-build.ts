/** What build actions run: no sockets, no agent, no signing. */
import { BUILD_COMMANDS } from './commands/build-table.ts';
import { main } from './cvm.ts';

await main('cvm-build', 'The part of cvm that build actions run: files in, files out.', BUILD_COMMANDS);
