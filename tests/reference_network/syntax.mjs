// What the official libraries say of texts: a question on stdin, the answer on stdout.
//
//   stdin    JSON: the name of a check to the list of texts it is asked about
//   stdout   JSON: the same names to lists of true and false
//
// tests/protocol/test_syntax_vectors.py asks.
import fs from 'node:fs'

import { isAtprotoDid } from '@atproto/did'
import { isValidDid, isValidHandle, isValidNsid, isValidTld } from '@atproto/syntax'

const checks = {
  handle: isValidHandle,
  // It compares with the case of the list, which is lower.
  handleThatMayResolve: (text) => isValidHandle(text) && isValidTld(text.toLowerCase()),
  did: isValidDid,
  atprotoDid: isAtprotoDid,
  nsid: isValidNsid,
}

const asked = Object.entries(JSON.parse(fs.readFileSync(0, 'utf8')))
const answers = asked.map(([name, texts]) => [name, texts.map((text) => checks[name](text))])
console.log(JSON.stringify(Object.fromEntries(answers)))
