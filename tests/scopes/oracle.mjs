// Answers questions about scopes with the official library: one JSON value a line.
// The path of the library is the argument.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const official = await import(pathToFileURL(process.argv[2]).href);

function printed(scope) {
  try {
    return official.normalizeAtprotoOauthScopeValue(scope);
  } catch (error) {
    if (error instanceof URIError) return null;
    throw error;
  }
}

const checks = {
  account: "assertAccount",
  blob: "assertBlob",
  identity: "assertIdentity",
  repo: "assertRepo",
  rpc: "assertRpc",
};

// What is missing, or null if it is allowed.
function missing(permissions, resource, options) {
  try {
    permissions[checks[resource]](options);
    return null;
  } catch (error) {
    if (error instanceof official.ScopeMissingError) return error.scope;
    throw error;
  }
}

const answers = {
  print: ({ scopes }) => scopes.map(printed),
  check({ granted, asked }) {
    // Left in, broken percent-encoding is an error whatever is asked.
    const sane = granted.filter((scope) => printed(scope) !== null);
    const permissions = new official.ScopePermissionsTransition(sane);
    return asked.map(([resource, options]) =>
      missing(permissions, resource, options),
    );
  },
  expand: ({ include, permissions }) =>
    official.IncludeScope.fromString(include).toScopes({ permissions }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { question, ...given } = JSON.parse(line);
  console.log(JSON.stringify(answers[question](given)));
}
