// An OpenID provider on this machine, in which everybody may log in under any name.
// node provider.mjs <address of the provider> <client id> <client secret> <redirect URI>
import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

const [issuer, clientId, clientSecret, redirectUri] = process.argv.slice(2);
const { privateKey } = await generateKeyPair("RS256", { extractable: true });
const name = (id) => `${id[0].toUpperCase()}${id.slice(1)}`;

const provider = new Provider(issuer, {
  clients: [{ client_id: clientId, client_secret: clientSecret, redirect_uris: [redirectUri] }],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  cookies: { keys: ["only for this test"] },
  // New at each start: to stop it and to start it again is to change its keys.
  jwks: { keys: [{ ...(await exportJWK(privateKey)), use: "sig" }] },
  pkce: { required: () => true },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.org`, email_verified: true, name: name(id) }),
  }),
});
provider.listen(Number(new URL(issuer).port), "127.0.0.1", () => process.stdout.write("listening\n"));
process.stdin.on("end", () => process.exit(0)).resume();
