// Judges requests by GitHub's own description of its API.
//
//   node github_validate.mjs PACKAGES LOG     LOG: a line {method, path, query, headers, body, status} for each
//
// Prints how many were right, by operation; says on standard error which were not, and fails.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [packages, log] = process.argv.slice(2);
const require = createRequire(`${packages}/`);
const Ajv = require("ajv/dist/2020").default;
const api = JSON.parse(readFileSync(`${packages}/@octokit/openapi/generated/api.github.com.deref.json`, "utf8"));

// A parameter is one segment, but a fixed path goes before it.
const paths = Object.keys(api.paths)
  .map((path) => ({ path, names: [...path.matchAll(/\{([^}]+)\}/g)].map((m) => m[1]) }))
  .map((it) => ({ ...it, match: new RegExp(`^${it.path.replace(/[.+]/g, "\\$&").replace(/\{[^}]+\}/g, "([^/]+)")}$`) }))
  .sort((one, two) => one.names.length - two.names.length);
const ajv = new Ajv({ strict: false, validateFormats: false, coerceTypes: true });

function problems(request) {
  const found = paths.find((it) => it.match.test(request.path) && api.paths[it.path][request.method.toLowerCase()]);
  if (!found) return ["no such operation"];
  const operation = api.paths[found.path][request.method.toLowerCase()];
  request.operation = operation.operationId;
  const wrong = [];
  const check = (what, schema, value) => {
    const valid = ajv.compile(schema);
    if (!valid(value)) wrong.push(`${what}: ${ajv.errorsText(valid.errors)}`);
  };
  const segments = request.path.match(found.match).slice(1).map(decodeURIComponent);
  const parameters = [...(api.paths[found.path].parameters ?? []), ...(operation.parameters ?? [])];
  for (const it of parameters) {
    const value = it.in === "query" ? request.query[it.name] : it.in === "path" ? segments[found.names.indexOf(it.name)] : undefined;
    if (value === undefined) {
      if (it.required && it.in !== "header") wrong.push(`${it.name} is missing`);
    } else check(it.name, { type: "object", properties: { it: it.schema } }, { it: value });
  }
  for (const name of Object.keys(request.query)) {
    if (!parameters.some((it) => it.in === "query" && it.name === name)) wrong.push(`${name} is no parameter`);
  }
  const schema = operation.requestBody?.content?.["application/json"]?.schema;
  if (request.body !== null) {
    if (!schema) wrong.push("a body where none is taken");
    else check("body", schema, request.body);
  } else if (operation.requestBody?.required) wrong.push("no body");
  const { headers } = request;
  if (headers.accept !== "application/vnd.github+json") wrong.push(`accept: ${headers.accept}`);
  if (!/^\d{4}-\d\d-\d\d$/.test(headers["x-github-api-version"] ?? "")) wrong.push("no API version");
  if (!headers["user-agent"]) wrong.push("no user agent");
  if (!/^Bearer ./.test(headers.authorization ?? "")) wrong.push("no token");
  return wrong;
}

const counts = {};
let bad = 0;
for (const line of readFileSync(log, "utf8").split("\n").filter(Boolean)) {
  const request = JSON.parse(line);
  const wrong = problems(request);
  if (wrong.length) {
    bad += 1;
    console.error(`${request.method} ${request.path}: ${wrong.join("; ")}`);
  }
  counts[request.operation] = (counts[request.operation] ?? 0) + 1;
}
console.log(JSON.stringify(counts));
process.exit(bad ? 1 : 0);
