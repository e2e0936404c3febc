"use strict";

const SAFE_METHODS = ["GET", "HEAD", "OPTIONS"];

// A change that is authenticated by cookie has to show the token of its session.
function showCsrfToken(request) {
  const found = document.cookie.match(/(?:^|; )courtyard_csrf=([^;]+)/);
  if (found && !SAFE_METHODS.includes(request.method?.toUpperCase()) && !request.headers["X-CSRF-Token"]) {
    request.headers["X-CSRF-Token"] = decodeURIComponent(found[1]);
  }
  return request;
}

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#explorer",
  deepLinking: true,
  docExpansion: "list",
  displayRequestDuration: true,
  showExtensions: true,
  requestInterceptor: showCsrfToken,
  // The service that checks documents is elsewhere, and it would be told of this one.
  validatorUrl: null,
});
