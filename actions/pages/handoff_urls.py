"""The addresses of the hand-off."""

from django.urls import path

from actions.pages import handoff

urlpatterns = [
    path("handoff/", handoff.tickets, name="tickets"),
    path("handoff/<uuid:ticket_id>/", handoff.ticket, name="ticket"),
    path("handoff/<uuid:ticket_id>/diagnostics.json", handoff.diagnostics, name="ticket_diagnostics"),
    path("handoff/<uuid:ticket_id>/assign/", handoff.assign, name="ticket_assign"),
    path("handoff/<uuid:ticket_id>/acknowledge/", handoff.acknowledge, name="ticket_acknowledge"),
    path("handoff/<uuid:ticket_id>/decline/", handoff.decline, name="ticket_decline"),
    path("handoff/<uuid:ticket_id>/resolve/", handoff.resolve, name="ticket_resolve"),
    path("handoff/<uuid:ticket_id>/comments/", handoff.comment, name="ticket_comment"),
    path("handoff/<uuid:ticket_id>/deliveries/<uuid:delivery_id>/", handoff.send_again, name="ticket_send_again"),
]
